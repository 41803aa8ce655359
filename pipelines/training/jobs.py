"""What the training jobs are told: one frozen dataclass per job, validated when it is made.

All of them share a *work folder*, local or ``s3://``, which each adds a part to::

    prepared.json  clips.parquet  patches/  failures/     prepare
    extractors/<extractor>/                               finetune
    embeddings/<extractor>/<weights>/                     embed
    heads/<head>/<extractor>/                             fit
    evaluations/<name>/                                   evaluate
    _runs/  _train/                                       run records; Ray Train's own checkpoints
"""

from dataclasses import dataclass, field

from pipelines.runtime.limits import Limits, Resources, TrainResources
from pipelines.storage.uris import is_local
from pipelines.training.specs import ExtractorSpec, HeadSpec, check_copies, check_name
from tagger.errors import CommandError, OptionError
from tagger.labels import Labelling


@dataclass(frozen=True, kw_only=True)
class InWorkFolder:
    """A step of a training."""

    work: str
    """Work folder, local or s3://, which all steps of a training share. Each step adds its part,
    and leaves out what is there."""


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
class OnExtractors(InWorkFolder):
    """A step upon fine-tuned extractors."""

    extractors: tuple[str, ...] = field(metadata={"metavar": "NAME"})
    """Names of the extractors, as they were fine-tuned into the work folder."""


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


@dataclass(frozen=True, kw_only=True)
class FinetuneJob(InWorkFolder):
    """One run of ``finetune``."""

    extractors: tuple[ExtractorSpec, ...]
    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    def __post_init__(self) -> None:
        _distinct("extractor", [spec.name for spec in self.extractors])


@dataclass(frozen=True, kw_only=True)
class EmbedJob(OnExtractors):
    """One run of ``embed``."""

    copies: int | None = None
    """Pitch-shifted copies of each training clip to embed, at most. Left out: all there are."""

    resources: Resources = field(default_factory=Resources, metadata={"only": ("cpus", "gpus")})
    """Resources."""

    def __post_init__(self) -> None:
        check_copies(self.copies or 0)


@dataclass(frozen=True, kw_only=True)
class FitJob(OnExtractors):
    """One run of ``fit``: every head upon every extractor."""

    heads: tuple[HeadSpec, ...]
    resources: TrainResources = field(default_factory=TrainResources)
    """Resources."""

    def __post_init__(self) -> None:
        _distinct("head", [spec.name for spec in self.heads])


@dataclass(frozen=True, kw_only=True)
class PublishJob:
    """What ``evaluate`` writes where a model is to be published."""

    folder: str
    """Local folder of the model."""

    name: str
    """The model's name on its card."""

    extractors: tuple[str, ...] = ()
    """Extractors whose members to publish; empty: those of the split all where there are any, else
    all that were evaluated."""

    float16: bool = False
    """Store the weights in float16."""

    command: tuple[str, ...] = ()
    """Verb and flags of the command that made the model, for the card."""

    notes: dict[str, str] = field(default_factory=dict)
    """What else the card is to tell."""

    def __post_init__(self) -> None:
        check_local_model(self.folder)


def member(text: str) -> tuple[str, str]:
    """A (head, extractor) pair from ``HEAD:EXTRACTOR``."""
    head, separator, extractor = text.partition(":")
    if not separator:
        raise OptionError("members", f"takes pairs HEAD:EXTRACTOR, not {text}")
    return head, extractor


@dataclass(frozen=True, kw_only=True)
class EvaluateJob(InWorkFolder):
    """One run of ``evaluate``: one ensemble, all its members together."""

    name: str
    """Name to give to the evaluation in the work folder; also the name of a published model."""

    members: tuple[tuple[str, str], ...] = field(
        metadata={"metavar": "HEAD:EXTRACTOR", "parse": member}
    )
    """Members of the ensemble: heads upon extractors of the work folder, such as F:mine B:mine.
    Those that were trained for the same test clips form one ensemble. The head named classifier is
    the extractor's own. Of members of folds and of all clips together the former measure and
    calibrate the latter, which are published."""

    precision: float | None = None
    """Share of the tags of each label, from 0 to 1, that shall be right: its threshold is the
    lowest that reaches this. Labels that do not are named, and never tags. Left out: best F1."""

    publish: PublishJob | None = None
    """The model to write, if any."""

    def __post_init__(self) -> None:
        if self.precision is not None and not 0 < self.precision <= 1:
            raise OptionError("precision", "must be above 0, and 1 at most")
        check_name(self.name)
        if not self.members:
            raise OptionError("members", "must name at least one")


def check_local_model(folder: str) -> None:
    """CommandError for a folder of a model to write that is not on this machine."""
    if not is_local(folder):
        raise CommandError(f"{folder}: a model is written to a local folder; copy it from there")


def _distinct(what: str, names: list[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise CommandError(f"give {what}s, each with a name of its own")
