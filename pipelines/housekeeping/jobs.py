"""What ``forget``, ``compact`` and ``rebuild-log`` are told, validated when it is made."""

from dataclasses import dataclass, field

from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.configs import require_positive
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class ForgetJob:
    """One run of ``forget``."""

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    uris: tuple[str, ...] = field(default=(), metadata={"positional": True, "metavar": "URI"})
    """Recordings to erase, each as its column uri has it, or as the path of a file: all versions of
    it, from the tables of all models. They need not exist any more."""

    manifest: str | None = field(default=None, metadata={"metavar": "FILE"})
    """A list of recordings to erase: a .txt with a URI in each line, or a .csv or .parquet with a
    column uri."""

    model: str | None = None
    """Retire a model instead: erase everything that it wrote. The name is that in the tables'
    folders, as in clips/model=NAME. Tagged with it again, all recordings are new."""

    again: bool = False
    """Erase nothing, but let the next run of tag take up these recordings again, which were
    forgotten before."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the run ends with exit code
    6. The same command, or the next tag, then completes it."""

    def __post_init__(self) -> None:
        for name, urls in (("out", (self.out,)), ("uris", self.uris)):
            for url in urls:
                refuse_credentials(url, name)
        require_positive("store_patience_s", self.store_patience_s)
        names_recordings = bool(self.uris) or self.manifest is not None
        if self.model is None and not names_recordings:
            raise OptionError("uris", "must name what to forget, unless --manifest or --model does")
        if self.model is not None and (names_recordings or self.again):
            raise OptionError("model", "does not go with recordings: forget one or the other")


@dataclass(frozen=True, kw_only=True)
class CompactJob:
    """One run of ``compact``."""

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the run ends with exit code
    6. The same command, or the next tag, then goes on."""

    def __post_init__(self) -> None:
        refuse_credentials(self.out, "out")
        require_positive("store_patience_s", self.store_patience_s)


@dataclass(frozen=True, kw_only=True)
class RebuildLogJob:
    """One run of ``rebuild-log``."""

    out: str = field(metadata={"positional": True})
    """Folder or s3:// prefix of the tables."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the run ends with exit code
    6. The same command then goes on."""

    def __post_init__(self) -> None:
        refuse_credentials(self.out, "out")
        require_positive("store_patience_s", self.store_patience_s)
