"""From which score on a label is a tag: thresholds tuned on clips that no member was trained on.

Each label is tuned against all others, for the best F1, or for a precision that its tags shall
have. A label has few clips, and what is best for just these is chance. So ``SMOOTHING`` clips count
with its own, whose scores are spread as those of all labels together are: a label with many clips
goes its own way, one with few that of all.

Conventions: ``scores`` are (n_clips, n_labels), calibrated; ``truth`` is the same shape, bool.
Thresholds that are tried lie halfway between scores of a label that follow each other.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from tagger.arrays import DoubleArray, RealArray
from tagger.label_metrics import Truth

SMOOTHING: Final = 20.0
"""Clips with any label that count with those of each. Measured: see ``docs/training.md``."""

ROUNDING: Final = 1e-9

Thresholds = tuple[float | None, ...]
"""Of each label the least score of a tag; None: no score is enough."""


class _Counts(NamedTuple):
    """Tags at each threshold that is tried, those of them that are right, clips with the label."""

    right: DoubleArray
    tags: DoubleArray
    clips: float

    @property
    def precision(self) -> DoubleArray:
        """0 where there are no tags."""
        share = np.zeros(len(self.tags))
        np.divide(self.right, self.tags, out=share, where=self.tags > 0)
        return share


def for_f1(scores: RealArray, truth: Truth) -> Thresholds:
    """The threshold of each label with the best F1, of equals the highest; all None without labels.

    F1 is 2 right / (tags + clips with the label).
    """
    found: list[float | None] = []
    for tried, _, smoothed in _labels(scores, truth):
        f1 = 2 * smoothed.right / (smoothed.tags + smoothed.clips)
        found.append(float(tried[len(f1) - 1 - f1[::-1].argmax()]))
    return tuple(found) or (None,) * truth.shape[1]


def for_precision(scores: RealArray, truth: Truth, precision: float) -> Thresholds:
    """The lowest threshold of each label whose tags are right in so many of all cases.

    They are so on these clips, and with those that ``SMOOTHING`` adds. None for a label that
    reaches it at no score.

    Parameters
    ----------
    precision : above 0, and 1 at most
    """
    found: list[float | None] = []
    for tried, own, smoothed in _labels(scores, truth):
        reached = (own.precision >= precision) & (smoothed.precision >= precision - ROUNDING)
        found.append(float(tried[reached.argmax()]) if reached.any() else None)
    return tuple(found) or (None,) * truth.shape[1]


def _labels(scores: RealArray, truth: Truth) -> Iterator[tuple[DoubleArray, _Counts, _Counts]]:
    """Of each label thresholds to try, lowest first, its counts, and these smoothed.

    Nothing where no clip has a label.
    """
    if not truth.any():
        return
    right, every = np.sort(scores[truth]), np.sort(scores, axis=None)
    weight = SMOOTHING / len(right)
    for own_scores, own_truth in zip(scores.T, truth.T, strict=True):
        steps = np.unique(own_scores.astype(np.float64))
        tried = (steps + np.append(0.0, steps[:-1])) / 2
        own = _counts(np.sort(own_scores[own_truth]), np.sort(own_scores), tried)
        of_all = _counts(right, every, tried)
        smoothed = _Counts(
            own.right + weight * of_all.right,
            own.tags + weight * of_all.tags,
            own.clips + SMOOTHING,
        )
        yield tried, own, smoothed


def _counts(right: RealArray, every: RealArray, tried: DoubleArray) -> _Counts:
    """From the scores of clips that have the label, and of all clips, both ascending."""
    return _Counts(
        np.float64(len(right)) - np.searchsorted(right, tried),
        np.float64(len(every)) - np.searchsorted(every, tried),
        float(len(right)),
    )
