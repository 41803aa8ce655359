"""What networks the training jobs are asked for: extractors and heads."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from pipelines.storage.uris import is_local, local_path
from tagger.configs import (
    AttentionConfig,
    LSTMConfig,
    TrainingConfig,
    VGGishConfig,
)
from tagger.errors import CommandError, OptionError

SCRATCH: Final = "scratch"
BUNDLED_START: Final = "bundled"  # as what training starts from: the model in the package
CLASSIFIER: Final = "classifier"  # as the name of a head: the extractor's own

EXTRACTOR_TRAINING: Final = TrainingConfig(
    epochs=30, patience=5, batches="balanced", batch_size=41, learning_rate=1e-4
)
"""Fine-tuning as in section 2.2, and in the demo that the authors of the paper published."""

HEAD_TRAINING: Final = TrainingConfig(epochs=100, patience=10, batches="examples", batch_size=128)

BASELINE_HAS_NO: Final = {"normalise": False, "shift": False, "start": SCRATCH, "teachers": ()}

Network = Literal["vggish", "baseline"]


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """One extractor to fine-tune, or the DCASE baseline CNN, which is trained the same way."""

    name: str
    """Name to give to the extractor in the work folder."""

    split: str
    """Which clips train, validate and test. first-N, last-N: the first or last N training clips of
    the data set train and the others validate, as in the paper. column: as the data set says. all:
    all train, but for the data set's test clips. fold-K: fold K tests, the others train and nothing
    validates (then give a patience of 0). fold-K-first, fold-K-last: as fold-K, but one of the
    other folds validates. Example: fold-1-first."""

    network: Network = "vggish"
    """What to train: vggish, the paper's extractor, or baseline, the small network that the
    challenge (DCASE 2018) gave for comparison. The baseline has other defaults of training."""

    start: str = SCRATCH
    """What to start from: scratch, the folder or URI of a model or of converted VGGish weights, or
    bundled, the model in the package. Its labels need not be those of the data set: the classifier
    upon its extractor is new. With 0 epochs the extractor is kept as it is."""

    start_extractor: str | None = field(default=None, metadata={"metavar": "NAME"})
    """Which extractor of that model, by its name on the card. Left out: the first."""

    normalise: bool = False
    """Train with batch normalisation, which is folded into the weights at the end. A network from
    scratch learns faster so."""

    copies: int = 0
    """Pitch-shifted copies of each training clip to train on, at most. 0: none."""

    shift: bool = False
    """Cut each patch up to 0.96 s later than it lies, at a place drawn anew each time that it is
    learned from; the last of a clip stays. For few clips."""

    teachers: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME"})
    """Extractors of the work folder that teach this one: it learns what their classifiers say of
    each example, on average, beside the labels (distillation). They must have been trained on the
    same split, so that none has heard a clip that tests. Left out: none."""

    vggish: VGGishConfig = field(default_factory=VGGishConfig)
    """Size of the network. From scratch the defaults are the paper's; else each is that of what
    training starts from."""

    training: TrainingConfig = EXTRACTOR_TRAINING
    """Training."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_copies(self.copies)
        _check_teachers(self.teachers, self.training.epochs)
        if self.network == "baseline":
            if self.vggish != VGGishConfig():
                raise CommandError("conv_widths and hidden are for VGGish, not for the baseline")
            for name, plain in BASELINE_HAS_NO.items():
                if getattr(self, name) != plain:
                    raise OptionError(name, "is for VGGish, not for the baseline")
        if self.start_extractor is not None and self.start == SCRATCH:
            raise OptionError("start_extractor", "is of a model to start from, which start names")
        if self.start not in (SCRATCH, BUNDLED_START) and is_local(self.start):
            # Workers have folders of their own.
            object.__setattr__(self, "start", str(Path(local_path(self.start)).absolute()))


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """One head to fit, on the embeddings of each extractor that the job names."""

    name: str
    """Name to give to the head in the work folder. It is trained once upon each extractor."""

    copies: int = 0
    """Pitch-shifted copies of each training clip to train on, at most. 0: none."""

    network: AttentionConfig | LSTMConfig = field(default_factory=AttentionConfig)
    """Size of the network."""

    training: TrainingConfig = HEAD_TRAINING
    """Training."""

    def __post_init__(self) -> None:
        check_name(self.name)
        check_copies(self.copies)
        if self.name == CLASSIFIER:
            raise OptionError("name", f"must not be {CLASSIFIER}: that is an extractor's own head")
        if self.training.mixup and isinstance(self.network, LSTMConfig):
            raise OptionError(
                "mixup", "is not for an LSTM: sequences of unequal length cannot be mixed"
            )


def check_name(name: str) -> None:
    """Names are parts of paths, and of ``HEAD:EXTRACTOR``."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise OptionError(
            "name",
            f"{name!r} is no name: take letters, digits, '.', '_' and '-', a letter or digit first",
        )


def _check_teachers(teachers: tuple[str, ...], epochs: int) -> None:
    if teachers and not epochs:
        raise OptionError("teachers", "have nobody to teach where training takes 0 epochs")
    if len(set(teachers)) < len(teachers):
        raise OptionError("teachers", "must each be named once")


def check_copies(copies: int) -> None:
    if copies < 0:
        raise OptionError("copies", "must be 0 or more")
