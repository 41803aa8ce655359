"""Scores against labels, label by label: a clip may have any number of them.

Conventions: ``scores`` is (n_clips, n_labels) floating point without NaN; ``truth`` is the same
shape, bool. A figure that a label cannot have is NaN: precision without a clip that has the label,
AUC without one that lacks it either. Means leave these labels out; where none is left, they are a
``ValueError``, since a mean of nothing is no score. Arrays that are not like this are one, too.
"""

import math
from statistics import NormalDist

import numpy as np

from tagger.arrays import BoolArray, DoubleArray, IndexArray, RealArray

Truth = BoolArray
"""(n_clips, n_labels): whether a clip has a label."""


def label_average_precision(scores: RealArray, truth: Truth) -> DoubleArray:
    """Average precision of each label: the mean, over clips that have it, of the precision there.

    Precision is taken with all clips that score as high as the clip or higher, so the order of
    clips with equal scores does not matter (scikit-learn's ``average_precision_score``).

    Returns
    -------
    (n_labels,) float64 in [0, 1]; NaN for a label that no clip has

    Raises
    ------
    ValueError : see the module's conventions
    """
    _validate(scores, truth)
    return np.array(
        [_average_precision(*column) for column in zip(scores.T, truth.T, strict=True)], np.float64
    )


def mean_average_precision(scores: RealArray, truth: Truth) -> float:
    """mAP: the mean of ``label_average_precision`` over the labels that have one.

    Raises
    ------
    ValueError : no clip has any label, and see the module's conventions
    """
    return mean_of_labels(label_average_precision(scores, truth))


def lwlrap(scores: RealArray, truth: Truth) -> float:
    """Label-weighted label-ranking average precision, in [0, 1].

    Of each label of each clip the precision among the labels that score as high or higher, and the
    mean of these over all labels of all clips (Fonseca et al., "Audio tagging with noisy labels and
    minimal supervision", DCASE 2019). Clips without labels, and labels without clips, weigh
    nothing.

    Raises
    ------
    ValueError : no clip has any label, and see the module's conventions
    """
    _validate(scores, truth)
    if not truth.any():
        raise ValueError("no clip has a label to rank")
    clips, labels = np.nonzero(truth)
    as_high = scores[clips] >= scores[clips, labels][:, None]
    return float(((as_high & truth[clips]).sum(1) / as_high.sum(1)).mean())


def label_auc(scores: RealArray, truth: Truth) -> DoubleArray:
    """Area under the ROC curve of each label: how often a clip with it scores above one without.

    Equal scores count half.

    Returns
    -------
    (n_labels,) float64 in [0, 1]; NaN for a label that all clips have, or none

    Raises
    ------
    ValueError : see the module's conventions
    """
    _validate(scores, truth)
    return np.array([_auc(*column) for column in zip(scores.T, truth.T, strict=True)], np.float64)


def d_prime(auc: float) -> float:
    """How many standard deviations two normal distributions lie apart that have this AUC.

    It is taken of the mean AUC (Hershey et al., ICASSP 2017). Infinite for an AUC of 0 or 1.
    """
    if auc in (0.0, 1.0):
        return math.copysign(math.inf, auc - 0.5)
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


def label_f1(decisions: Truth, truth: Truth) -> DoubleArray:
    """F1 of each label: the harmonic mean of precision and recall.

    Parameters
    ----------
    decisions : (n_clips, n_labels) bool, the tags that were given

    Returns
    -------
    (n_labels,) float64 in [0, 1]; NaN for a label that no clip has and none was given

    Raises
    ------
    ValueError : see the module's conventions
    """
    _validate(decisions, truth)
    n_right = (decisions & truth).sum(0)
    n_named = decisions.sum(0) + truth.sum(0)
    return _divided(2 * n_right, n_named)


def micro_f1(decisions: Truth, truth: Truth) -> float:
    """F1 of all decisions together, in [0, 1].

    Raises
    ------
    ValueError : no clip has or was given any label, and see the module's conventions
    """
    _validate(decisions, truth)
    n_named = int(decisions.sum() + truth.sum())
    if not n_named:
        raise ValueError("no clip has or was given a label")
    return float(2 * (decisions & truth).sum() / n_named)


def macro_f1(decisions: Truth, truth: Truth) -> float:
    """The mean of ``label_f1`` over the labels that have one.

    Raises
    ------
    ValueError : no clip has or was given any label, and see the module's conventions
    """
    return mean_of_labels(label_f1(decisions, truth))


def mean_of_labels(values: DoubleArray) -> float:
    """The mean over labels (n_labels,) of a figure; those without one, NaN, are left out.

    Raises
    ------
    ValueError : none is left
    """
    there = values[~np.isnan(values)]
    if not len(there):
        raise ValueError("no label has clips to score it on")
    return float(there.mean())


def _average_precision(scores: RealArray, truth: Truth) -> float:
    if not truth.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    n_right = np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)  # of equal scores
    precision = n_right[last] / (last + 1)
    return float(np.diff(n_right[last], prepend=0) @ precision / n_right[-1])


def _auc(scores: RealArray, truth: Truth) -> float:
    with_, without = scores[truth], np.sort(scores[~truth])
    if not len(with_) or not len(without):
        return math.nan
    below = np.searchsorted(without, with_, "left") + np.searchsorted(without, with_, "right")
    return float(below.mean() / 2 / len(without))


def _divided(parts: IndexArray, wholes: IndexArray) -> DoubleArray:
    """Quotients, NaN where the whole is 0."""
    quotients = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=quotients, where=wholes > 0)
    return quotients


def _validate(scores: RealArray | Truth, truth: Truth) -> None:
    """ValueError unless the arrays are what the module's conventions say."""
    if scores.ndim != 2 or scores.shape != truth.shape or truth.dtype != np.bool_:
        raise ValueError(
            f"scores {scores.shape} and truth {truth.shape} of {truth.dtype} are no pair of scores "
            "and bool of (n_clips, n_labels)"
        )
    if np.isnan(scores).any():
        raise ValueError("scores that are NaN have no ranks")
