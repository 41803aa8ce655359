"""Scores that mean what they say: temperature scaling and its measure (Guo et al., ICML 2017).

A *decision* is what a score is of: of one label a clip the first tag, of several labels each label
of each clip. Scores are calibrated where of all decisions with a score of 0.8 eight in ten are
right.

Conventions: ``probabilities`` are (n_clips, K) of an ensemble; ``truth`` is the same shape, bool.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from tagger.arrays import DoubleArray, IndexArray, RealArray
from tagger.ensemble import LOG_FLOOR, at_temperature
from tagger.errors import CommandError
from tagger.label_metrics import Truth
from tagger.labels import Labelling

CARD: Final = "card"

Threshold = float | Literal["card"]
"""A least score for all labels; or for each its threshold on the model's card, if it has any."""

N_BINS: Final = 15
COLDEST: Final = 0.1
"""Least temperature, and one over it the largest: clips that are all tagged right, or all wrong,
bound it nowhere."""


@dataclass(frozen=True)
class Calibration:
    """What a model's card says of its scores.

    Attributes
    ----------
    temperature : divides the logits of the ensemble's scores; 1 leaves them as they are
    thresholds : per label the least score of a tag; None: no score is enough
    precision : what the thresholds were tuned for: this precision, or the best F1 where None

    Raises
    ------
    CommandError : on construction, where a number is none of these
    """

    temperature: float
    thresholds: tuple[float | None, ...]
    precision: float | None = None

    def __post_init__(self) -> None:
        if not COLDEST <= self.temperature <= 1 / COLDEST:
            raise CommandError(f"its temperature is not from {COLDEST:g} to {1 / COLDEST:g}")
        if not all(value is None or 0 <= value <= 1 for value in self.thresholds):
            raise CommandError("it has a threshold that is not from 0 to 1")
        if self.precision is not None and not 0 < self.precision <= 1:
            raise CommandError("its precision is not above 0, and 1 at most")

    @property
    def aim(self) -> str:
        """What the thresholds were tuned for, in words."""
        return "best F1" if self.precision is None else f"precision {self.precision:g}"

    @property
    def never(self) -> list[int]:
        """The classes that no score is enough for."""
        return [k for k, value in enumerate(self.thresholds) if value is None]

    @property
    def least_scores(self) -> DoubleArray:
        """The thresholds (K,) as numbers, infinite where no score is enough."""
        return np.array([np.inf if value is None else value for value in self.thresholds])


@dataclass(frozen=True)
class Reliability:
    """Decisions in bins of equal width by their score.

    Attributes
    ----------
    n : (n_bins,) decisions in each
    score : (n_bins,) the mean of their scores, NaN where there are none
    share : (n_bins,) how many of them are right, as a share; NaN where there are none
    """

    n: IndexArray
    score: DoubleArray
    share: DoubleArray

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of score and share over all decisions."""
        some = self.n > 0
        distances = np.abs(self.score[some] - self.share[some])
        return float(distances @ self.n[some] / self.n.sum())


def reliability(
    probabilities: RealArray, truth: Truth, labelling: Labelling, n_bins: int = N_BINS
) -> Reliability:
    """How often decisions of each score are right; bins are open below and closed above.

    Raises
    ------
    ValueError : no clips
    """
    scores, right = decisions(probabilities, truth, labelling)
    if not len(scores):
        raise ValueError("there are no clips to measure calibration on")
    bins = np.clip(np.ceil(scores * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    n = np.bincount(bins, minlength=n_bins)
    sums = (np.bincount(bins, values, minlength=n_bins) for values in (scores, right))
    means = (np.divide(each, n, out=np.full(n_bins, np.nan), where=n > 0) for each in sums)
    return Reliability(n, *means)


def decisions(
    probabilities: RealArray, truth: Truth, labelling: Labelling
) -> tuple[DoubleArray, npt.NDArray[np.bool_]]:
    """Score of each decision, and whether it is right, (n_decisions,) each."""
    scores = probabilities.astype(np.float64)
    if labelling == "several":
        return scores.ravel(), truth.ravel()
    rows = np.arange(len(scores))
    best = scores.argmax(1)
    return scores[rows, best], truth[rows, best]


def fit_temperature(probabilities: RealArray, truth: Truth, labelling: Labelling) -> float:
    """The temperature under which the truth is most likely.

    It minimises the negative log likelihood of clips that no member of the ensemble was trained on:
    of one label a clip that of a softmax, of several that of a sigmoid for each label.

    Raises
    ------
    ValueError : no clips
    """
    from scipy.optimize import minimize_scalar  # a quarter of a second that a card need not cost

    if not len(probabilities):
        raise ValueError("there are no clips to fit a temperature on")
    found = minimize_scalar(
        lambda log: negative_log_likelihood(probabilities, truth, labelling, float(np.exp(log))),
        bounds=(np.log(COLDEST), -np.log(COLDEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(
    probabilities: RealArray, truth: Truth, labelling: Labelling, temperature: float = 1.0
) -> float:
    """The loss that ``fit_temperature`` minimises, in nats, a mean over clips or decisions."""
    scores = at_temperature(probabilities.astype(np.float64), temperature, labelling)
    likelihood = np.where(truth, scores, 1 - scores) if labelling == "several" else scores[truth]
    return float(-np.log(np.maximum(likelihood, LOG_FLOOR)).mean())
