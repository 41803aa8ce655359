"""What the jobs that read a data set are told; see ``jobs``."""

from dataclasses import dataclass, field

from pipelines.runtime.limits import Limits, Resources
from pipelines.training.jobs import InWorkFolder, check_copies
from tagger.errors import OptionError
from tagger.labels import Labelling


@dataclass(frozen=True, kw_only=True)
class OnDataSet(InWorkFolder):
    """A step that reads a data set."""

    data: str = field(metadata={"positional": True})
    """The data set: its folder (FSDKaggle2018, ESC-50, ESC-10, FSD50K, AudioSet, or a folder for
    each class), or a CSV file with the columns uri and label, and fold, split, start_s and end_s
    where there are any, or the corrections that the page of a report saves."""

    layout: str | None = None
    """Layout of the data set: fsdkaggle2018, esc50, esc10, fsd50k, audioset, folders or csv. Left
    out: the one that it looks like. For a folder of ESC-50, esc10 takes the ten classes of
    ESC-10."""


@dataclass(frozen=True, kw_only=True)
class PrepareJob(OnDataSet):
    """One run of ``prepare``."""

    labels: Labelling = "one"
    """Labels of a clip: one, or several, which is any number of them. The work folder remembers it:
    networks then learn and say each label by itself."""

    label_separator: str | None = field(default=None, metadata={"metavar": "TEXT"})
    """What is between the labels of a clip in the column label of a CSV, such as ';' or '|'; json
    where each text is a JSON list. Left out: each text is one label. For several labels a clip."""

    corrections: tuple[str, ...] = field(default=(), metadata={"metavar": "CSV"})
    """Further labels: CSV files with the columns uri and label, or corrections as the page of a
    report saves them. Clips of the data set take the label that stands here; the others are
    trained on as well."""

    balance: bool = True
    """Whether classes with fewer clips get more pitch-shifted copies, until each is as large as the
    largest."""

    copies: int = 0
    """Pitch-shifted copies of each training clip, at least."""

    most_semitones: int = 12
    """Largest pitch shift of a copy, up or down, in semitones from 1 to 12."""

    shift_start: bool = False
    """Start each copy a little later than its clip, by less than one segment (0.96 s), so that its
    segments are others."""

    seed: int = 0
    """Seed from which the shifts of the copies are drawn."""

    limits: Limits = field(default_factory=Limits)
    """Limits of a clip. One that exceeds them is left out of the training, with a reason."""

    resources: Resources = field(default_factory=Resources, metadata={"only": ("cpus",)})
    """Resources."""

    def __post_init__(self) -> None:
        check_copies(self.copies)
        if not 1 <= self.most_semitones <= 12:
            raise OptionError("most_semitones", "must be from 1 to 12")
