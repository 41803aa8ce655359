"""What a job is told: one frozen dataclass per job, validated when it is made."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipelines.retry import PATIENCE_S
from pipelines.uris import refuse_credentials
from tagger.card import BUNDLED
from tagger.errors import CommandError

if TYPE_CHECKING:
    from tagger.tagging import Precision

PRECISIONS: Final = ("float32", "bfloat16")


def _positive(flag: str, value: float) -> None:
    if not value > 0:
        raise CommandError(f"{flag} must be greater than 0")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one clip may cost before it becomes a failure.

    Attributes
    ----------
    clip_timeout_s : seconds of decoding per clip, and as many for every hour that it holds
    max_hours : decoded length of a recording
    memory_mb : memory of the process that decodes, in MiB
    """

    clip_timeout_s: float = 120.0
    max_hours: float = 24.0
    memory_mb: int = 1536

    def __post_init__(self) -> None:
        _positive("--clip-timeout", self.clip_timeout_s)
        _positive("--max-hours", self.max_hours)
        _positive("--clip-memory-mb", self.memory_mb)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the job may take of the cluster; None: what the cluster offers.

    Attributes
    ----------
    cpus : CPU workers
    gpus : GPU actors; 0 keeps the job on CPUs
    precision : arithmetic of the extractors; None: bfloat16 on GPUs that compute in it
    """

    cpus: int | None = None
    gpus: int | None = None
    precision: "Precision | None" = None

    def __post_init__(self) -> None:
        if self.cpus is not None:
            _positive("--cpus", self.cpus)
        if self.gpus is not None and self.gpus < 0:
            raise CommandError("--gpus must be 0 or more")


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
        _positive("--top-k", self.top_k)
        _positive("--store-patience", self.store_patience_s)
        if not 0.0 <= self.threshold <= 1.0:
            raise CommandError("--threshold is a score between 0 and 1")
        if not 0.0 <= self.max_failed <= 1.0:
            raise CommandError("--max-failed is a fraction between 0 and 1")
        if self.limit is not None:
            _positive("--limit", self.limit)
