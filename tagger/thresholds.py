"""From which score on a label is a tag: thresholds tuned on clips that no member was trained on.

Each label is tuned for itself, against all others: for the best F1, or for a precision that its
tags shall have. A threshold lies halfway between the lowest score that is a tag and the next lower
one. A few clips tell nothing of a label that has fewer than ``LEAST_CLIPS`` among them.

Conventions: ``scores`` are (n_clips, n_labels), calibrated; ``truth`` is the same shape, bool.
"""

from typing import Final

import numpy as np

from tagger.arrays import DoubleArray, IndexArray, RealArray
from tagger.label_metrics import Truth

LEAST_CLIPS: Final = 5
"""Clips with a label, and tags of it, at least, for a threshold of its own."""

Thresholds = tuple[float | None, ...]
"""Of each label the least score of a tag; None: no score is enough."""


def for_f1(scores: RealArray, truth: Truth) -> Thresholds:
    """The threshold of each label with the best F1; of several the highest.

    Labels with few clips share one: that with the best F1 over the decisions of all labels.
    """
    shared = best_f1(scores.ravel(), truth.ravel())
    return tuple(
        best_f1(*column) if column[1].sum() >= LEAST_CLIPS else shared
        for column in zip(scores.T, truth.T, strict=True)
    )


def for_precision(scores: RealArray, truth: Truth, precision: float) -> Thresholds:
    """The lowest threshold of each label whose tags are right in so many of all cases.

    None for a label that reaches it at no score, and for one with few clips.

    Parameters
    ----------
    precision : above 0, and 1 at most
    """
    return tuple(
        lowest(*column, precision) if column[1].sum() >= LEAST_CLIPS else None
        for column in zip(scores.T, truth.T, strict=True)
    )


def best_f1(scores: RealArray, truth: Truth) -> float | None:
    """The threshold of one label, or of all decisions (n,), with the best F1.

    None where nothing is true, so that no threshold is better than another.
    """
    if not truth.any():
        return None
    steps, n_right, n_tags = _steps(scores, truth)
    f1 = 2 * n_right / (n_tags + truth.sum())
    return _halfway(steps, int(f1.argmax()))


def lowest(scores: RealArray, truth: Truth, precision: float) -> float | None:
    """The lowest threshold of one label (n,) whose tags have this precision; None: none has.

    So that it is no luck, there must be ``LEAST_CLIPS`` tags at least.
    """
    steps, n_right, n_tags = _steps(scores, truth)
    enough = np.flatnonzero((n_right / n_tags >= precision) & (n_tags >= LEAST_CLIPS))
    return _halfway(steps, int(enough[-1])) if len(enough) else None


def _steps(scores: RealArray, truth: Truth) -> tuple[DoubleArray, IndexArray, IndexArray]:
    """The different scores, highest first; of those as high, how many are right, and how many."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    return ranked[last], np.cumsum(truth[order])[last], last + 1


def _halfway(steps: DoubleArray, at: int) -> float:
    """Between a step and the next lower one; 0 below the lowest."""
    below = steps[at + 1] if at + 1 < len(steps) else 0.0
    return float((steps[at] + below) / 2)
