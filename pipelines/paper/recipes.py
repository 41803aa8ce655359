"""The rows of the paper's Tables 2, 3 and 4, and the networks that they are made of.

A row is an ensemble: heads, each upon each of some extractors. Rows share extractors and heads.
What the rows have in common, such as learning rates, stands in ``settings``.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pipelines.training.specs import CLASSIFIER
from tagger.configs import Batches


@dataclass(frozen=True, kw_only=True)
class ExtractorRecipe:
    """An extractor.

    Attributes
    ----------
    part : which clips it is trained on: of Table 2's two parts the first or the last, the others
        validating; or the whole
    batches : None: as the setting has them
    baseline : the DCASE baseline CNN instead of VGGish
    trained : no: the weights that training would start from
    """

    part: Literal["first", "last", "whole"]
    batches: Batches | None = None
    baseline: bool = False
    trained: bool = True


EXTRACTORS: Final = {
    "baseline": ExtractorRecipe(part="whole", baseline=True),
    "original": ExtractorRecipe(part="first", trained=False),
    "balanced-first": ExtractorRecipe(part="first"),
    "balanced-last": ExtractorRecipe(part="last"),
    "unbalanced-first": ExtractorRecipe(part="first", batches="unbalanced"),
    "unbalanced-last": ExtractorRecipe(part="last", batches="unbalanced"),
}
"""The extractors by name: the baseline, the original VGGish, and the paper's four."""

BALANCED: Final = ("balanced-first", "balanced-last")
UNBALANCED: Final = ("unbalanced-first", "unbalanced-last")
ALL_FOUR: Final = (*BALANCED, *UNBALANCED)


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """A head.

    Attributes
    ----------
    lstm : an LSTM upon whole clips instead of attention upon bags
    n_segments, levels : of attention, as in ``AttentionConfig``
    pitch_shift : whether pitch-shifted copies are trained on
    mixup : alpha; 0: none
    """

    lstm: bool = False
    n_segments: int = 6
    levels: tuple[int, ...] = (1, 2, 3)
    pitch_shift: bool = False
    mixup: float = 0.0


HEADS: Final = {
    "A": HeadRecipe(n_segments=1),
    "B": HeadRecipe(lstm=True),
    "C": HeadRecipe(),
    "D": HeadRecipe(pitch_shift=True),
    "E": HeadRecipe(pitch_shift=True, mixup=0.1),
    "F": HeadRecipe(pitch_shift=True, mixup=0.2),
    "G": HeadRecipe(pitch_shift=True, mixup=0.4),
    "H": HeadRecipe(pitch_shift=True, mixup=1.0),
    "F-1": HeadRecipe(pitch_shift=True, mixup=0.2, n_segments=1),
    "F-2": HeadRecipe(pitch_shift=True, mixup=0.2, n_segments=2),
    "F-4": HeadRecipe(pitch_shift=True, mixup=0.2, n_segments=4),
    "F-8": HeadRecipe(pitch_shift=True, mixup=0.2, n_segments=8),
    "F-10": HeadRecipe(pitch_shift=True, mixup=0.2, n_segments=10),
    "K": HeadRecipe(pitch_shift=True, levels=(3,)),
}
"""The heads by name: a letter for a row of Table 3, a number of segments for one of Table 4."""


@dataclass(frozen=True)
class Row:
    """One figure of the paper.

    Attributes
    ----------
    key : what ``--rows`` takes
    what : the row's name in the paper
    paper : its MAP@3 on the 301 public test clips; NaN for a row that is not the paper's
    heads : keys of ``HEADS``, each of which is put upon each of the extractors; or ``CLASSIFIER``
    extractors : keys of ``EXTRACTORS``
    """

    key: str
    what: str
    paper: float
    heads: tuple[str, ...]
    extractors: tuple[str, ...]


ROWS: Final = (
    Row("2-baseline", "Baseline", 0.704, (CLASSIFIER,), ("baseline",)),
    Row("2-original", "Original VGGish", 0.606, ("A",), ("original",)),
    Row("2-balanced-first", "Balanced First Part", 0.870, ("A",), ("balanced-first",)),
    Row("2-balanced-last", "Balanced Last Part", 0.864, ("A",), ("balanced-last",)),
    Row("2-balanced", "Balanced All", 0.891, ("A",), BALANCED),
    Row("2-unbalanced-first", "Unbalanced First Part", 0.858, ("A",), ("unbalanced-first",)),
    Row("2-unbalanced-last", "Unbalanced Last Part", 0.872, ("A",), ("unbalanced-last",)),
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
