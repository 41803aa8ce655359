"""What the training jobs are told: one frozen dataclass per job, validated when it is made.

All of them share a *work folder*, local or ``s3://``, which each adds a part to::

    prepared.json  clips.parquet  patches/  failures/     prepare
    extractors/<extractor>/                               finetune
    embeddings/<extractor>/<weights>/                     embed
    heads/<head>/<extractor>/                             fit
    evaluations/<name>/                                   evaluate
    _runs/  _train/                                       run records; Ray Train's own checkpoints
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pipelines.runtime.limits import Limits, Resources
from pipelines.storage.uris import is_local, local_path
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError

SCRATCH: Final = "scratch"
CLASSIFIER: Final = "classifier"  # as the name of a head: the extractor's own

EXTRACTOR_TRAINING: Final = TrainingConfig(
    epochs=30, patience=5, batches="balanced", batch_size=41, learning_rate=1e-4
)
"""Fine-tuning as in section 2.2 and the reference implementation's demo (reference/system.md 5)."""

HEAD_TRAINING: Final = TrainingConfig(epochs=100, patience=10, batches="examples", batch_size=128)

Network = Literal["vggish", "baseline"]


@dataclass(frozen=True, kw_only=True)
class PrepareJob:
    """One run of ``prepare``.

    Attributes
    ----------
    data : the data set: its folder, or a CSV of uri and label
    layout : a key of ``tagger.layouts.READERS``; None: detected
    balance : make as many copies of training clips as raise each class to the largest
    copies : make at least so many copies of each training clip
    most_semitones : largest pitch shift of a copy
    shift_start : start each copy at an offset of its own, below one segment
    """

    data: str
    work: str
    layout: str | None = None
    balance: bool = True
    copies: int = 0
    most_semitones: int = 12
    shift_start: bool = False
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        _check_copies(self.copies)
        if not 1 <= self.most_semitones <= 12:
            raise CommandError("--most-semitones must be from 1 to 12")


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """One extractor to fine-tune, or the DCASE baseline CNN, which is trained the same way.

    Attributes
    ----------
    split : which clips to train, validate and test on: see ``pipelines.training.splits``
    start : ``scratch``, or folder or URI of a model or of converted VGGish weights; a folder's path
        is made absolute, since workers have a current folder of their own
    normalise : train with batch normalisation, which is folded into the weights at the end
    copies : copies of each training clip to use, at most
    """

    name: str
    split: str
    network: Network = "vggish"
    vggish: VGGishConfig = field(default_factory=VGGishConfig)
    training: TrainingConfig = EXTRACTOR_TRAINING
    start: str = SCRATCH
    normalise: bool = False
    copies: int = 0

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_copies(self.copies)
        if self.network == "baseline" and (self.normalise or self.start != SCRATCH):
            raise CommandError("--start and --normalise are for VGGish, not for the baseline")
        if self.start != SCRATCH and is_local(self.start):
            object.__setattr__(self, "start", str(Path(local_path(self.start)).absolute()))


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """One head to fit, on the embeddings of each extractor that the job names.

    Attributes
    ----------
    network : attention upon bags, or an LSTM upon whole clips
    copies : copies of each training clip to use, at most
    """

    name: str
    network: AttentionConfig | LSTMConfig = field(default_factory=AttentionConfig)
    training: TrainingConfig = HEAD_TRAINING
    copies: int = 0

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_copies(self.copies)
        if self.name == CLASSIFIER:
            raise CommandError(f"--name: {CLASSIFIER!r} stands for an extractor's own head")
        if self.training.mixup and isinstance(self.network, LSTMConfig):
            raise CommandError("--mixup: sequences of unequal length cannot be mixed")


@dataclass(frozen=True, kw_only=True)
class TrainResources:
    """Workers of a Ray Train run.

    Attributes
    ----------
    workers : how many
    together : all workers train every network together, each on its share of the batches;
        otherwise each trains some of the networks alone
    gpus : a GPU for each worker
    checkpoint_s : least time between two checkpoints, which fall between epochs
    """

    workers: int = 1
    together: bool = False
    gpus: bool = False
    cpus_per_worker: int = 1
    checkpoint_s: float = 30.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise CommandError("--workers must be greater than 0")
        if self.cpus_per_worker < 1:
            raise CommandError("--cpus-per-worker must be greater than 0")


@dataclass(frozen=True, kw_only=True)
class FinetuneJob:
    """One run of ``finetune``."""

    work: str
    extractors: tuple[ExtractorSpec, ...]
    resources: TrainResources = field(default_factory=TrainResources)

    def __post_init__(self) -> None:
        _distinct("extractor", [spec.name for spec in self.extractors])


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """One run of ``embed``.

    Attributes
    ----------
    extractors : names of extractors in the work folder
    copies : copies of each training clip to embed, at most; None: all
    """

    work: str
    extractors: tuple[str, ...]
    copies: int | None = None
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        _check_copies(self.copies or 0)


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One run of ``fit``: every head upon every extractor.

    Attributes
    ----------
    extractors : names of extractors in the work folder that were embedded
    """

    work: str
    extractors: tuple[str, ...]
    heads: tuple[HeadSpec, ...]
    resources: TrainResources = field(default_factory=TrainResources)

    def __post_init__(self) -> None:
        _distinct("head", [spec.name for spec in self.heads])


@dataclass(frozen=True, kw_only=True)
class PublishJob:
    """What ``evaluate --publish`` writes.

    Attributes
    ----------
    folder : local folder of the model
    name : the model's name on its card
    extractors : whose members to publish; empty: all that were evaluated
    float16 : store weights in float16
    command : verb and flags of the command that made the model, for the card
    notes : what else the card is to tell
    """

    folder: str
    name: str
    extractors: tuple[str, ...] = ()
    float16: bool = False
    command: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_local(self.folder):
            raise CommandError(
                f"--publish {self.folder}: a model is written to a local folder; copy it from there"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluateJob:
    """One run of ``evaluate``: one ensemble, all its members together.

    Attributes
    ----------
    name : of the evaluation, a folder below ``evaluations/``
    members : (head, extractor) pairs of the work folder; members that were trained for the same
        test clips form one ensemble. The head ``classifier`` is the extractor's own
    """

    work: str
    name: str
    members: tuple[tuple[str, str], ...]
    publish: PublishJob | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.members:
            raise CommandError("an evaluation needs members")


@dataclass(frozen=True, kw_only=True)
class ReproduceJob:
    """One run of ``reproduce``.

    Attributes
    ----------
    rows : keys of ``recipes.ROWS``; empty: all that the data set and ``start`` allow; or
        ``bundled`` alone, which makes the bundled model
    setting : a key of ``recipes.SETTINGS``
    start : where extractors start from: ``scratch``, or folder or URI of VGGish weights
    publish : with ``bundled``: local folder of the model
    """

    data: str
    work: str
    rows: tuple[str, ...] = ()
    setting: str = "paper"
    start: str = SCRATCH
    publish: str | None = None
    layout: str | None = None
    seed: int = 0
    resources: TrainResources = field(default_factory=TrainResources)

    def __post_init__(self) -> None:
        if ("bundled" in self.rows) != (self.publish is not None):
            raise CommandError("--rows bundled and --publish go together")
        if "bundled" in self.rows and len(self.rows) > 1:
            raise CommandError("--rows bundled stands alone")
        settings = (self.setting, self.start, self.seed)
        if self.publish is not None and settings != ("paper", SCRATCH, 0):
            raise CommandError(
                "--rows bundled has settings of its own: leave out --setting, --start and --seed"
            )


def _check_name(name: str) -> None:
    """Names are parts of paths, and of ``HEAD:EXTRACTOR``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise CommandError(
            f"--name {name!r}: take letters, digits, '.', '_' and '-', a letter or digit first"
        )


def _check_copies(copies: int) -> None:
    if copies < 0:
        raise CommandError("--copies must be 0 or more")


def _distinct(what: str, names: list[str]) -> None:
    if not names or len(set(names)) < len(names):
        raise CommandError(f"give {what}s, each with a name of its own")
