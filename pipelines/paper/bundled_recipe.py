"""How the bundled model is made, as data: its preparation, extractors and heads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipelines.paper.settings import NARROW
from pipelines.training.jobs import PrepareJob
from pipelines.training.specs import ExtractorSpec, HeadSpec
from tagger.configs import AttentionConfig, TrainingConfig, VGGishConfig

EXTRACTOR_TRAINING: Final = TrainingConfig(
    epochs=2,
    patience=None,
    batches="examples",
    batch_size=64,
    learning_rate=2e-3,
    weight_decay=1e-4,
    one_cycle=True,
    average=0.99,
    mixup=0.2,
)
TAUGHT_TRAINING: Final = replace(EXTRACTOR_TRAINING, mixup=1.0, bfloat16=True)
HEAD_TRAINING: Final = TrainingConfig(
    epochs=40, patience=None, batches="examples", batch_size=128, one_cycle=True, mixup=1.0
)
NETWORK: Final = AttentionConfig(hidden=256, dropout=0.6)
HEAD: Final = "attention"  # the name of its heads
EVERYTHING: Final = "all"  # the split of those networks that are published


@dataclass(frozen=True, kw_only=True)
class BundledRecipe:
    """Cross-validated over folds, then trained on all of them.

    Every network trains for a number of epochs fixed beforehand, since the fold that is left out is
    measured on. Its epochs count takes, ten to a clip: two are twenty passes over the clips.
    For each split, teachers come first, one of each seed. They teach as many others, which alone
    get heads: those are measured and published.
    """

    folds: tuple[int, ...] = (1, 2, 3, 4)
    seeds: tuple[int, ...] = (0, 1)
    copies: int = 9
    head_copies: int = 3
    most_semitones: int = 6
    vggish: VGGishConfig = NARROW
    extractor: TrainingConfig = EXTRACTOR_TRAINING
    taught: TrainingConfig = TAUGHT_TRAINING
    network: AttentionConfig = NETWORK
    head: TrainingConfig = HEAD_TRAINING

    def prepare(self, data: str, work: str) -> PrepareJob:
        """How the recordings are prepared."""
        return PrepareJob(
            data=data,
            work=work,
            balance=False,
            copies=self.copies,
            most_semitones=self.most_semitones,
            shift_start=True,
        )

    def teachers(self) -> tuple[ExtractorSpec, ...]:
        """Extractors that learn from the labels alone.

        Those of equal length stand together, so that workers side by side end together.
        """
        splits = [*(f"fold-{fold}" for fold in self.folds), EVERYTHING]
        return tuple(
            ExtractorSpec(
                name=f"{split}-s{seed}",
                split=split,
                vggish=self.vggish,
                training=replace(self.extractor, seed=seed),
                shift=True,
                normalise=True,
                copies=self.copies,
            )
            for split in splits
            for seed in self.seeds
        )

    def extractors(self) -> tuple[ExtractorSpec, ...]:
        """Those that learn from the teachers of their split, too."""
        teachers = self.teachers()
        return tuple(
            replace(
                spec,
                name=f"{spec.split}-taught-s{spec.training.seed}",
                training=replace(self.taught, seed=spec.training.seed),
                teachers=tuple(each.name for each in teachers if each.split == spec.split),
            )
            for spec in teachers
        )

    def heads(self) -> tuple[HeadSpec, ...]:
        """The one head upon each extractor."""
        return (
            HeadSpec(name=HEAD, network=self.network, training=self.head, copies=self.head_copies),
        )

    def members(self, extractors: Sequence[ExtractorSpec]) -> tuple[tuple[str, str], ...]:
        """All pairs of head and extractor."""
        return tuple((HEAD, spec.name) for spec in extractors)


RECIPE: Final = BundledRecipe()
