"""What ``retag`` is told, validated when it is made."""

from dataclasses import dataclass, field

from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.configs import require_positive


@dataclass(frozen=True, kw_only=True)
class RetagJob:
    """One run of ``retag``."""

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    model: str | None = None
    """Folder or URI of the model to tag with: other heads upon the same extractors. Left out: the
    one that tagged last, whose rows are made anew, with all that this version writes."""

    from_: str | None = field(default=None, metadata={"metavar": "MODEL"})
    """Folder or URI of the model whose embeddings are taken. Left out: of the other models in the
    tables the one that tagged last, where its files still lie where they lay then."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the run ends with exit code
    6. The same command then goes on."""

    def __post_init__(self) -> None:
        for name in ("out", "model", "from_"):
            refuse_credentials(getattr(self, name) or "", name)
        require_positive("store_patience_s", self.store_patience_s)
