"""What ``search`` is told, validated when it is made."""

from dataclasses import dataclass, field

from pipelines.runtime.limits import Resources
from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.configs import require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class SearchJob:
    """One run of ``search``."""

    queries: tuple[str, ...] = field(metadata={"positional": True, "metavar": "QUERY"})
    """What to search for: a recording, as a path or URI, or a clip of the tables, by its uri or
    clip_id. Of several, what they have in common is searched for; each counts the same."""

    tables: str
    """Folder or s3:// prefix of the tables that tag wrote."""

    top: int = 20
    """Answers, at most: those with the highest scores."""

    extractor: str | None = field(default=None, metadata={"default": "the model's first"})
    """Whose embeddings are compared: a name in the column extractor."""

    segment_s: tuple[float, float] | None = None
    """Search for a part of each QUERY alone: from this second to that, such as 2.88 3.84."""

    tag: str | None = None
    """Answer only from clips that have this tag among their tags, such as Rooster."""

    per_clip: bool = False
    """Answer the best segment of each clip only, and none of a clip that is a QUERY."""

    not_: tuple[str, ...] = field(default=(), metadata={"metavar": "QUERY"})
    """What the answers should not sound like: recordings or clips, as QUERY names them."""

    model: str | None = field(default=None, metadata={"default": "the bundled one"})
    """Folder or URI of the model that made the tables, which embeds recordings. If every QUERY is
    a clip, the name in the tables' folders is enough, as in clips/model=NAME, and needed only where
    there are several."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the search ends with exit code
    6."""

    resources: Resources = field(
        default=Resources(), metadata={"only": ("cpus", "wait_for_nodes_s")}
    )
    """Resources."""

    def __post_init__(self) -> None:
        for name, urls in (
            ("queries", self.queries),
            ("tables", (self.tables,)),
            ("not_", self.not_),
            ("model", (self.model or "",)),
        ):
            for url in urls:
                refuse_credentials(url, name)
        if not self.queries:
            raise OptionError("queries", "must name what to search for")
        for name in ("top", "store_patience_s"):
            require_positive(name, getattr(self, name))
        if self.segment_s is not None and not 0.0 <= self.segment_s[0] < self.segment_s[1]:
            raise OptionError("segment_s", "must begin at 0 or later, and end after its beginning")
