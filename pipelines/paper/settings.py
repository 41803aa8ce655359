"""What the rows of the paper have in common, and the networks of a row on a data set."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from pipelines.paper.recipes import EXTRACTORS, HEADS
from pipelines.training.jobs import PrepareJob
from pipelines.training.specs import (
    CLASSIFIER,
    EXTRACTOR_TRAINING,
    HEAD_TRAINING,
    SCRATCH,
    ExtractorSpec,
    HeadSpec,
)
from pipelines.training.splits import folds, has_folds
from tagger.configs import CNN_TRAINING, AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.dataset import Dataset

PAPER_CLIPS: Final = 9473  # of FSDKaggle2018, section 2.2
PAPER_TRAIN_CLIPS: Final = 8000  # of them, the first or the last

EVERY_COPY: Final = 1_000_000  # more copies than any clip has; work folders hold this number


@dataclass(frozen=True)
class Start:
    """What extractors start from: ``scratch``, or a model and the shape of its extractor."""

    url: str = SCRATCH
    vggish: VGGishConfig = field(default_factory=VGGishConfig)


@dataclass(frozen=True)
class Division:
    """The splits for one set of test clips, by name.

    Attributes
    ----------
    name : of the test clips; empty for those of the data set
    first, last : train on the first or the last part and validate on the other
    whole : train on both
    """

    name: str
    first: str
    last: str
    whole: str


def divisions(dataset: Dataset) -> list[Division]:
    """Each fold in turn where the data set has folds or no test clips, else its test clips."""
    if has_folds(dataset) or not len(dataset.test()):
        return [Division(name, f"{name}-first", f"{name}-last", name) for name in folds(dataset)]
    n_clips = len(dataset.development())
    n = min(PAPER_TRAIN_CLIPS, round(n_clips * PAPER_TRAIN_CLIPS / PAPER_CLIPS))
    return [Division("", f"first-{n}", f"last-{n}", "all")]


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
        """How the data set is prepared."""
        return PrepareJob(
            data=data,
            work=work,
            balance=self.balance,
            copies=self.copies,
            most_semitones=self.most_semitones,
            seed=seed,
        )

    def heads(self, names: Iterable[str], seed: int) -> tuple[HeadSpec, ...]:
        """The heads of these names, each once; ``CLASSIFIER`` needs none."""
        return tuple(self._head(name, seed) for name in dict.fromkeys(names) if name != CLASSIFIER)

    def _head(self, name: str, seed: int) -> HeadSpec:
        recipe = HEADS[name]
        attention = AttentionConfig(recipe.n_segments, levels=recipe.levels, hidden=self.hidden)
        return HeadSpec(
            name=name,
            network=LSTMConfig(self.hidden) if recipe.lstm else attention,
            training=replace(self.head, mixup=recipe.mixup, seed=seed),
            copies=EVERY_COPY if recipe.pitch_shift else 0,
        )

    def extractors(
        self, names: Iterable[str], dataset: Dataset, start: Start, seed: int, suffix: str = ""
    ) -> dict[str, list[ExtractorSpec]]:
        """The extractors of these names, each for every set of test clips.

        Parameters
        ----------
        suffix : of their names in the work folder
        """
        return {
            name: [
                replace(made, name=f"{made.name}{suffix}")
                for made in (
                    self._extractor(name, division, start, seed) for division in divisions(dataset)
                )
            ]
            for name in dict.fromkeys(names)
        }

    def _extractor(self, name: str, division: Division, start: Start, seed: int) -> ExtractorSpec:
        recipe = EXTRACTORS[name]
        full_name = f"{name}-{division.name}" if division.name else name
        split = {"first": division.first, "last": division.last, "whole": division.whole}
        if recipe.baseline:
            return ExtractorSpec(
                name=full_name,
                split=split[recipe.part],
                network="baseline",
                training=replace(self.baseline, seed=seed),
            )
        training = replace(
            self.extractor, batches=recipe.batches or self.extractor.batches, seed=seed
        )
        from_scratch = start.url == SCRATCH
        return ExtractorSpec(
            name=full_name,
            split=split[recipe.part],
            vggish=self.vggish if from_scratch else start.vggish,
            training=training if recipe.trained else replace(training, epochs=0, patience=None),
            start=start.url,
            normalise=self.normalise and from_scratch,
        )


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
        head=TrainingConfig(
            epochs=75, steps_per_epoch=20, patience=50, batch_size=32, learning_rate=3e-3
        ),
        hidden=300,
    ),
}
"""The paper's own, and one for data sets of some hundred clips on machines without a GPU."""
