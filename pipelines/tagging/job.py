"""What ``tag`` is told, validated when it is made."""

from dataclasses import dataclass

from pipelines.runtime.limits import Limits, Resources, require_positive
from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.card import BUNDLED
from tagger.errors import CommandError


@dataclass(frozen=True, kw_only=True)
class TagJob:
    """One run of ``tag``.

    Attributes
    ----------
    inputs : files, folders, globs, prefixes, manifests
    out : folder or s3:// prefix of the tables
    model : folder or URI of the model
    top_k, threshold : how many tags a clip gets, and the least score of one
    embeddings, embedding_dtype, timeline : which tables are written, and how
    limit : work on the first so many clips not done yet
    max_failed : failed clips a run may have, as a fraction of those it worked on
    retry_failed : take up clips again whose failure was final
    store_patience_s : seconds of trying one operation of a store, before the job ends
    """

    inputs: tuple[str, ...]
    out: str
    model: str = str(BUNDLED)
    top_k: int = 3
    threshold: float = 0.0
    embeddings: bool = True
    embedding_dtype: str = "float32"
    timeline: bool = False
    limit: int | None = None
    max_failed: float = 0.1
    retry_failed: bool = False
    store_patience_s: float = PATIENCE_S
    limits: Limits = Limits()
    resources: Resources = Resources()

    def __post_init__(self) -> None:
        for flag, url in (("--model", self.model), ("--out", self.out)):
            refuse_credentials(url, flag)
        require_positive("--top-k", self.top_k)
        require_positive("--store-patience", self.store_patience_s)
        if not 0.0 <= self.threshold <= 1.0:
            raise CommandError("--threshold is a score between 0 and 1")
        if not 0.0 <= self.max_failed <= 1.0:
            raise CommandError("--max-failed is a fraction between 0 and 1")
        if self.limit is not None:
            require_positive("--limit", self.limit)
