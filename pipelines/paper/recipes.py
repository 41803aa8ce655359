"""Named recipes: the rows of the paper's Tables 2, 3 and 4, and the bundled model.

A row is an ensemble: heads of one kind upon some extractors. The extractors are the paper's four,
balanced or unbalanced batches, first or last part of the clips; where a data set has folds, there
are such four for every fold that is left out to test on. Rows share extractors and heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipelines.training.finetune import vggish_of
from pipelines.training.jobs import (
    CLASSIFIER,
    EXTRACTOR_TRAINING,
    HEAD_TRAINING,
    SCRATCH,
    ExtractorSpec,
    HeadSpec,
    PrepareJob,
)
from pipelines.training.splits import folds, has_folds
from tagger.configs import CNN_TRAINING, AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.dataset import Dataset

BALANCED: Final = ("balanced-first", "balanced-last")
UNBALANCED: Final = ("unbalanced-first", "unbalanced-last")
ALL_FOUR: Final = (*BALANCED, *UNBALANCED)
BASELINE: Final = "baseline"
ORIGINAL: Final = "original"

SEGMENTS: Final = (1, 2, 4, 6, 8, 10)
MIXUPS: Final = {"E": 0.1, "F": 0.2, "G": 0.4, "H": 1.0}
PAPER_TRAIN_CLIPS: Final = 8000  # of 9473, section 2.2


@dataclass(frozen=True)
class Row:
    """One figure of the paper.

    Attributes
    ----------
    key : what ``--rows`` takes
    what : the row's name in the paper
    paper : its MAP@3, on the 301 public test clips
    heads : names of heads; each is put upon each of the extractors
    extractors : kinds of extractor
    """

    key: str
    what: str
    paper: float
    heads: tuple[str, ...]
    extractors: tuple[str, ...]


ROWS: Final = (
    Row("2-baseline", "Baseline", 0.704, (CLASSIFIER,), (BASELINE,)),
    Row("2-original", "Original VGGish", 0.606, ("A",), (ORIGINAL,)),
    Row("2-balanced-first", "Balanced First Part", 0.870, ("A",), BALANCED[:1]),
    Row("2-balanced-last", "Balanced Last Part", 0.864, ("A",), BALANCED[1:]),
    Row("2-balanced", "Balanced All", 0.891, ("A",), BALANCED),
    Row("2-unbalanced-first", "Unbalanced First Part", 0.858, ("A",), UNBALANCED[:1]),
    Row("2-unbalanced-last", "Unbalanced Last Part", 0.872, ("A",), UNBALANCED[1:]),
    Row("2-unbalanced", "Unbalanced All", 0.892, ("A",), UNBALANCED),
    Row("2-all", "Ensemble All", 0.903, ("A",), ALL_FOUR),
    Row("3-A", "1-Segment Multi-level", 0.903, ("A",), ALL_FOUR),
    Row("3-B", "LSTM", 0.914, ("B",), ALL_FOUR),
    Row("3-C", "6-Segment Multi-level Attention", 0.925, ("C",), ALL_FOUR),
    Row("3-D", "C + Pitch shifting Augmentation", 0.930, ("D",), ALL_FOUR),
    Row("3-E", "D + Mixup (0.1)", 0.930, ("E",), ALL_FOUR),
    Row("3-F", "D + Mixup (0.2)", 0.936, ("F",), ALL_FOUR),
    Row("3-G", "D + Mixup (0.4)", 0.931, ("G",), ALL_FOUR),
    Row("3-H", "D + Mixup (1.0)", 0.930, ("H",), ALL_FOUR),
    Row("4-1", "1 segment", 0.917, ("F-1",), ALL_FOUR),
    Row("4-2", "2 segments", 0.919, ("F-2",), ALL_FOUR),
    Row("4-4", "4 segments", 0.931, ("F-4",), ALL_FOUR),
    Row("4-6", "6 segments", 0.936, ("F",), ALL_FOUR),
    Row("4-8", "8 segments", 0.929, ("F-8",), ALL_FOUR),
    Row("4-10", "10 segments", 0.931, ("F-10",), ALL_FOUR),
    Row("4-all", "Ensemble All", 0.931, ("F-1", "F-2", "F-4", "F", "F-8", "F-10"), ALL_FOUR),
    Row("K", "single-level attention (Kong 2017)", float("nan"), ("K",), ALL_FOUR),
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the rows have in common.

    Attributes
    ----------
    balance, copies, most_semitones : as in ``PrepareJob``
    vggish, normalise : as in ``ExtractorSpec``, from scratch
    extractor, baseline, head : how they are trained
    hidden : units of the heads' layers; the LSTM's too
    """

    balance: bool = True
    copies: int = 0
    most_semitones: int = 12
    vggish: VGGishConfig = field(default_factory=VGGishConfig)
    normalise: bool = False
    extractor: TrainingConfig = EXTRACTOR_TRAINING
    baseline: TrainingConfig = CNN_TRAINING
    head: TrainingConfig = HEAD_TRAINING
    hidden: int = 600

    def prepare(self, data: str, work: str, seed: int) -> PrepareJob:
        return PrepareJob(
            data=data,
            work=work,
            balance=self.balance,
            copies=self.copies,
            most_semitones=self.most_semitones,
            seed=seed,
        )

    def heads(self, names: Sequence[str], seed: int) -> tuple[HeadSpec, ...]:
        """The heads of these names."""
        return tuple(self._head(name, seed) for name in dict.fromkeys(names) if name != CLASSIFIER)

    def _head(self, name: str, seed: int) -> HeadSpec:
        letter, _, segments = name.partition("-")
        n_segments = int(segments or (1 if letter == "A" else 6))
        training = replace(self.head, mixup=MIXUPS.get(letter, 0.0), seed=seed)
        return HeadSpec(
            name=name,
            network=LSTMConfig(self.hidden)
            if letter == "B"
            else AttentionConfig(
                n_segments, levels=(3,) if letter == "K" else (1, 2, 3), hidden=self.hidden
            ),
            training=training,
            copies=EVERY_COPY if letter in "DEFGHK" else 0,
        )

    def extractors(
        self, kinds: Sequence[str], dataset: Dataset, start: str, seed: int
    ) -> dict[str, list[ExtractorSpec]]:
        """The extractors of each kind, one for each test."""
        kinds = list(dict.fromkeys(kinds))
        return {
            kind: [self._extractor(kind, part, start, seed) for part in divisions(dataset)]
            for kind in kinds
        }

    def _extractor(self, kind: str, division: "Division", start: str, seed: int) -> ExtractorSpec:
        name = f"{kind}-{division.name}" if division.name else kind
        if kind == BASELINE:
            training = replace(self.baseline, seed=seed)
            return ExtractorSpec(
                name=name, split=division.whole, network="baseline", training=training
            )
        batches, _, part = kind.rpartition("-")
        training = replace(self.extractor, seed=seed)
        if kind == ORIGINAL:
            training = replace(training, epochs=0, patience=None)
        elif batches == "unbalanced":
            training = replace(training, batches="unbalanced")
        return ExtractorSpec(
            name=name,
            split=division.last if part == "last" else division.first,
            vggish=self.vggish if start == SCRATCH else vggish_of(start),
            training=training,
            start=start,
            normalise=self.normalise and start == SCRATCH,
        )


EVERY_COPY: Final = 1_000_000


@dataclass(frozen=True)
class Division:
    """Names of the splits for one set of test clips."""

    name: str
    first: str
    last: str
    whole: str


def divisions(dataset: Dataset) -> list[Division]:
    """Each fold in turn where the data set has folds or no test clips, else its test clips."""
    if has_folds(dataset) or not len(dataset.test()):
        return [Division(name, f"{name}-first", f"{name}-last", name) for name in folds(dataset)]
    n = min(PAPER_TRAIN_CLIPS, round(len(dataset.development()) * PAPER_TRAIN_CLIPS / 9473))
    return [Division("", f"first-{n}", f"last-{n}", "all")]


NARROW: Final = VGGishConfig((16, 32, 64, 128), 256)
"""Table 1 at a quarter of its convolutions' widths: 1.2 million weights instead of 72."""

SETTINGS: Final = {
    "paper": Setting(),
    "reduced": Setting(
        balance=True,
        copies=2,
        most_semitones=6,
        vggish=NARROW,
        normalise=True,
        extractor=TrainingConfig(
            epochs=20, patience=8, batches="balanced", batch_size=10, weight_decay=1e-4
        ),
        baseline=TrainingConfig(epochs=2, patience=None, batches="examples", batch_size=64),
        head=TrainingConfig(epochs=30, patience=6, batches="examples", batch_size=128),
    ),
}
"""The paper's own, and one for data sets of some hundred clips on machines without a GPU."""

BUNDLED_EXTRACTOR: Final = TrainingConfig(
    epochs=2,
    patience=None,
    batches="balanced",
    learning_rate=2e-3,
    weight_decay=1e-4,
    one_cycle=True,
    average=0.99,
    mixup=0.2,
)
BUNDLED_HEAD: Final = TrainingConfig(
    epochs=10, patience=None, batches="examples", batch_size=128, one_cycle=True, mixup=0.2
)


@dataclass(frozen=True, kw_only=True)
class Bundled:
    """How the bundled model is made: cross-validated over folds, then trained on all of them.

    Every network trains for a number of epochs fixed beforehand, since the fold that is left out is
    measured on. Its epochs count takes, ten to a clip: two are twenty passes over the clips.
    """

    folds: tuple[int, ...] = (1, 2, 3, 4)
    seeds: tuple[int, ...] = (0, 1)
    copies: int = 9
    head_copies: int = 3
    most_semitones: int = 6
    vggish: VGGishConfig = NARROW
    extractor: TrainingConfig = BUNDLED_EXTRACTOR
    network: AttentionConfig = field(default_factory=AttentionConfig)
    head: TrainingConfig = BUNDLED_HEAD

    @property
    def splits(self) -> list[str]:
        return [*(f"fold-{fold}" for fold in self.folds), "all"]

    def prepare(self, data: str, work: str) -> PrepareJob:
        return PrepareJob(
            data=data,
            work=work,
            balance=False,
            copies=self.copies,
            most_semitones=self.most_semitones,
            shift_start=True,
        )

    def extractors(self) -> tuple[ExtractorSpec, ...]:
        """Those of equal length stand together, so that workers side by side end together."""
        return tuple(
            ExtractorSpec(
                name=f"{split}-s{seed}",
                split=split,
                vggish=self.vggish,
                training=replace(self.extractor, seed=seed),
                normalise=True,
                copies=self.copies,
            )
            for split in self.splits
            for seed in self.seeds
        )

    def heads(self) -> tuple[HeadSpec, ...]:
        return (
            HeadSpec(
                name="attention",
                network=self.network,
                training=self.head,
                copies=self.head_copies,
            ),
        )

    def members(self, extractors: Sequence[ExtractorSpec]) -> tuple[tuple[str, str], ...]:
        return tuple(("attention", spec.name) for spec in extractors)


BUNDLED: Final = Bundled()
