"""What ``export`` is told, validated when it is made."""

from dataclasses import dataclass, field
from typing import Literal

from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.errors import OptionError

Format = Literal["audacity", "raven", "csv", "srt", "vtt", "json", "textgrid"]


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """One run of ``export``."""

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    format: Format
    """What to write: audacity (a label track), raven (a selection table), srt and vtt (subtitles),
    textgrid (Praat, a tier for each tag) and json are one file for each recording; csv is one file
    for all."""

    to: str
    """Folder or s3:// prefix for the files. Files of the same names are replaced."""

    tag: tuple[str, ...] = field(default=(), metadata={"metavar": "TAG"})
    """Tags to export. Left out: all."""

    min_score: float = 0.0
    """Least score, from 0 to 1, of the best bag of an event."""

    clip: tuple[str, ...] = field(default=(), metadata={"metavar": "URI"})
    """Recordings to export, by the URIs that the column uri has. Left out: all."""

    model: str | None = field(default=None, metadata={"metavar": "NAME"})
    """Model whose events are exported, by the name that the column model_id has. Left out: the one
    that tagged last."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before exit code 6."""

    def __post_init__(self) -> None:
        for name in ("out", "to"):
            refuse_credentials(getattr(self, name), name)
        if not 0.0 <= self.min_score <= 1.0:
            raise OptionError("min_score", "must be from 0 to 1")
