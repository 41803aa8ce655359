"""What ``report`` is told, validated when it is made."""

from dataclasses import dataclass, field

from pipelines.inputs.access import InputLimits
from pipelines.runtime.limits import Limits
from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.configs import require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class ReportJob:
    """One run of ``report``."""

    tables: str = field(metadata={"positional": True, "metavar": "OUT"})
    """Folder or s3:// prefix of the tables that tag wrote."""

    out: str = "report.html"
    """Where the page goes: a name that ends in .html is one file with everything in it, below 20
    MB; any other is a folder, or an s3:// prefix, with index.html and pictures and sounds beside
    it, which may hold more."""

    run: tuple[str, ...] = field(default=(), metadata={"metavar": "RUN_ID"})
    """Show only what these runs tagged, by the names that status lists. Left out: all."""

    tag: tuple[str, ...] = field(default=(), metadata={"metavar": "TAG"})
    """Tags that get a gallery, such as Rooster, of all clips that have them. Left out: all tags,
    each with the clips of which it is the first or in which it was heard."""

    clip: str | None = field(default=None, metadata={"metavar": "URI"})
    """Show this recording in full instead, by its path or the URI that the column uri has."""

    n_each: int = 4
    """Clips of each kind in the gallery of a tag: the best, the most doubtful, and some at random.
    One file has fewer if they do not fit."""

    model: str | None = field(default=None, metadata={"default": "the bundled one"})
    """Folder or URI of the model that made the tables, which tells the attention of short clips. Of
    several models in the tables, the name in the tables' folders chooses one, as in
    clips/model=NAME. Without it the page is of the model that tagged last."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering: that of the tables, before exit code
    6, or of the recordings, which the page then lacks."""

    input_limits: InputLimits = field(
        default=InputLimits(), metadata={"only": ("allow_private_hosts", "unsized_mb")}
    )
    """Recordings."""

    limits: Limits = field(
        default=Limits(), metadata={"only": ("clip_timeout_s", "clip_memory_mb")}
    )
    """Limits of a clip. One that exceeds them has neither picture nor sound."""

    def __post_init__(self) -> None:
        for name in ("tables", "out", "model"):
            refuse_credentials(getattr(self, name) or "", name)
        for name in ("n_each", "store_patience_s"):
            require_positive(name, getattr(self, name))
        if not self.out.strip("/"):
            raise OptionError("out", "must name a .html file or a folder")
        if self.clip is not None and (self.run or self.tag):
            raise OptionError("clip", "does not go with --run and --tag")

    @property
    def is_one_file(self) -> bool:
        """Whether the page holds its pictures and sounds itself."""
        return self.out.lower().endswith((".html", ".htm"))
