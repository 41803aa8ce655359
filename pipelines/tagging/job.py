"""What ``tag`` is told, validated when it is made."""

import re
from dataclasses import dataclass, field
from typing import Literal

from pipelines.inputs.access import InputLimits
from pipelines.runtime.limits import Limits, Resources
from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.uris import refuse_credentials
from tagger.calibration import CARD, Threshold
from tagger.card import BUNDLED
from tagger.configs import require_positive
from tagger.errors import OptionError
from tagger.recorded_at import by_pattern

EmbeddingDtype = Literal["float32", "float16"]


@dataclass(frozen=True, kw_only=True)
class TagJob:
    """One run of ``tag``."""

    inputs: tuple[str, ...] = field(metadata={"positional": True, "metavar": "INPUT"})
    """What to tag: any mixture of audio files, folders, globs in quotation marks
    ('old/**/*.flac'), prefixes of object stores (s3://archive/2026/), and manifests: a .txt with a
    URI in each line, or a .csv or .parquet with a column uri."""

    out: str
    """Folder or s3:// prefix of the tables; it is made if it is not there."""

    model: str = field(default=str(BUNDLED), metadata={"default": "the bundled one"})
    """Folder or URI of the model. The bundled one knows ten kinds of sound."""

    top_k: int = 3
    """Tags that a clip gets, at most: those with the highest scores."""

    threshold: Threshold | None = None
    """Least score, from 0 to 1, of a tag that is written, or card: for each label the threshold on
    the model's card, tuned when the model was made. A clip may then have no tag at all. Left out:
    as the output was begun; a new one with card, or with 0 where the card has no thresholds."""

    embeddings: bool = True
    """Whether to write the embeddings, the largest of the tables: 128 numbers for every 0.96 s of
    sound by each extractor of the model. Without them the tables of tags are the same."""

    embedding_dtype: EmbeddingDtype = "float32"
    """Type of the numbers in the embeddings table. With float16 it takes half the space, and Spark
    and Athena cannot read it."""

    timeline: bool = False
    """Write the timeline of every clip: its tags over time, for one bag of 0.96 s segments after
    the other, with the weights of the attention. Left out: of clips of two bags and more, with the
    bundled model those of more than 5.8 s."""

    event_threshold: Threshold | None = None
    """Least score, from 0 to 1, of a bag of segments in which a tag is heard, or card. Such bags in
    a row are one row of the table events. Left out: as with --threshold, but 0.5 for 0."""

    event_gap_s: float = 6.0
    """Longest gap in an event, in which its tag is not heard."""

    track: str = "default"
    """Which audio track is tagged of a recording that has several: default, the one that its
    container marks so, else the first; a number, from 1; or all, each as a clip of its own: the
    default one under the recording's name, the others as NAME#track=2."""

    follow_links: bool = False
    """Below a folder, take files that links lead to wherever they lie, and enter folders that links
    lead to, each folder once: for archives whose files are links, as with DVC or git-annex. Without
    it links that lead out of the folder, and links to folders, are passed over."""

    recorded_at: str | None = field(default=None, metadata={"metavar": "PATTERN"})
    """Where names hold the time of the recording, for the column recorded_at: %Y%m%d_%H%M%S finds
    20240101_063000; %Y year, %m month, %d day, %j day of the year, %H hour, %M minute, %S second.
    Left out: what a WAV file's header says (GUANO, bext, AudioMoth's comment), else a time in one
    of the usual ways in the file's name."""

    limit: int | None = None
    """Clips to work on in this run, at most. The next run goes on with the others."""

    max_failed: float = 0.1
    """Fraction of clips, from 0 to 1, that may fail before the run ends with exit code 4. What
    could be tagged is in the tables all the same."""

    redo_entry: int | None = field(default=None, metadata={"metavar": "N"})
    """First make all clips of entry N of the output's log new again, tagged or failed, and what is
    left of their rows go: the way out where a file of that entry is damaged and there is no copy of
    it. An error, or status --verify, tells the number."""

    retry_failed: bool = False
    """Take up clips again whose failure is final, because their bytes cause it. Failures that may
    pass, such as a timeout, are taken up by every run."""

    price_per_hour: float | None = None
    """Price of one CPU for an hour, in any currency; --dry-run then tells what a run will cost."""

    price_per_gpu_hour: float | None = None
    """Price of one GPU for an hour, beside that of the CPUs."""

    store_patience_s: float = PATIENCE_S
    """Longest time to try again when a store stops answering, before the run ends with exit code
    6."""

    input_limits: InputLimits = InputLimits()
    """Inputs."""

    limits: Limits = Limits()
    """Limits of a clip. One that exceeds them becomes a row of the table failures."""

    resources: Resources = Resources()
    """Resources."""

    def __post_init__(self) -> None:
        for name in ("model", "out"):
            refuse_credentials(getattr(self, name), name)
        for name in ("top_k", "store_patience_s"):
            require_positive(name, getattr(self, name))
        for name in ("threshold", "max_failed", "event_threshold"):
            if not _is_share(getattr(self, name)):
                raise OptionError(name, "must be from 0 to 1")
        _require_pattern(self.recorded_at)
        _require_track(self.track)
        if not self.event_gap_s >= 0.0:
            raise OptionError("event_gap_s", "must be 0 or more")
        for name in ("limit", "price_per_hour", "price_per_gpu_hour"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))


def _is_share(value: Threshold | None) -> bool:
    """Whether it is from 0 to 1, or no number that would have to be."""
    return value is None or value == CARD or 0.0 <= value <= 1.0


def _require_pattern(pattern: str | None) -> None:
    try:
        if pattern is not None:
            by_pattern(pattern)
    except ValueError as error:
        raise OptionError("recorded_at", str(error)) from error


def _require_track(track: str) -> None:
    if not re.fullmatch("default|all|[1-9][0-9]*", track):
        raise OptionError("track", "must be default, all, or a number from 1")
