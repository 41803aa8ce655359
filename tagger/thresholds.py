"""From which score on a label is a tag: thresholds tuned on clips that no member was trained on.

Each label is tuned against all others, for the best F1, or for a precision that its tags shall
have. A label has few clips, and what is best for just these is chance. So ``SMOOTHING`` clips count
with its own, whose scores are spread as those of all labels together are: a label with many clips
goes its own way, one with few that of all.

Conventions: ``scores`` are (n_clips, n_labels), calibrated; ``truth`` is the same shape, bool.
Thresholds that are tried lie halfway between scores that follow each other.
"""

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
    """Tags at each threshold, and clips that have the label."""

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
    if not truth.any():
        return (None,) * len(truth.T)
    tried = _between(scores)
    every = _counts(scores.ravel(), truth.ravel(), tried)
    found = []
    for column in zip(scores.T, truth.T, strict=True):
        right, tags, clips = _smoothed(_counts(*column, tried), every)
        f1 = 2 * right / (tags + clips)
        found.append(float(tried[len(f1) - 1 - f1[::-1].argmax()]))
    return tuple(found)


def for_precision(scores: RealArray, truth: Truth, precision: float) -> Thresholds:
    """The lowest threshold of each label whose tags are right in so many of all cases.

    They are so on these clips, and with those that ``SMOOTHING`` adds. None for a label that
    reaches it at no score.

    Parameters
    ----------
    precision : above 0, and 1 at most
    """
    if not truth.any():
        return (None,) * len(truth.T)
    tried = _between(scores)
    every = _counts(scores.ravel(), truth.ravel(), tried)
    found = []
    for column in zip(scores.T, truth.T, strict=True):
        own = _counts(*column, tried)
        reached = own.precision >= precision
        reached &= _smoothed(own, every).precision >= precision - ROUNDING
        found.append(float(tried[reached.argmax()]) if reached.any() else None)
    return tuple(found)


def _between(scores: RealArray) -> DoubleArray:
    """Halfway between a score and the next lower one, lowest first; the first is above 0."""
    steps = np.unique(scores.astype(np.float64))
    between: DoubleArray = (steps + np.append(0.0, steps[:-1])) / 2
    return between


def _counts(scores: RealArray, truth: Truth, tried: DoubleArray) -> _Counts:
    """Of one label, or of all decisions (n,)."""
    right, every = np.sort(scores[truth]), np.sort(scores)
    return _Counts(
        np.float64(len(right)) - np.searchsorted(right, tried),
        np.float64(len(every)) - np.searchsorted(every, tried),
        float(len(right)),
    )


def _smoothed(own: _Counts, every: _Counts) -> _Counts:
    """The counts of a label, and of clips that stand for all labels."""
    weight = SMOOTHING / every.clips
    return _Counts(
        own.right + weight * every.right, own.tags + weight * every.tags, own.clips + SMOOTHING
    )
