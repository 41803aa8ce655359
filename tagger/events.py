"""Events: the stretches of a recording in which a tag was heard.

A bag in which a tag's score reaches a threshold is part of an event; bags of one tag that follow
each other belong to one event, also across a short gap.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from tagger.arrays import DoubleArray, FloatArray

EVENT_THRESHOLD: Final = 0.5
"""Least score of a bag in which a tag is heard, with models that have no thresholds."""

EVENT_GAP_S: Final = 6.0


class Stretch(NamedTuple):
    """An event as numbers.

    Attributes
    ----------
    label : class number
    first, last : bags
    peak, mean : scores over the bags from first to last, those of a gap included
    """

    label: int
    first: int
    last: int
    peak: float
    mean: float


def stretches(
    bag_scores: FloatArray,
    start_s: DoubleArray,
    end_s: DoubleArray,
    threshold: float | DoubleArray,
    gap_s: float,
) -> Iterator[Stretch]:
    """The events of a recording, label by label, in order of time.

    Parameters
    ----------
    bag_scores : (n_bags, K)
    start_s, end_s : (n_bags,) seconds, where each bag lies; both ascending
    threshold : least score of a bag that is heard; one for all labels, or (K,)
    gap_s : longest silence of a tag, in seconds, within one event
    """
    labels, bags = np.nonzero((bag_scores >= threshold).T)
    if not len(bags):
        return
    parted = (np.diff(labels) > 0) | (start_s[bags[1:]] - end_s[bags[:-1]] > gap_s)
    starts = np.flatnonzero(np.concatenate([[True], parted]))
    ends = np.append(starts[1:], len(bags)) - 1
    for label, first, last in zip(labels[starts], bags[starts], bags[ends], strict=True):
        scores = bag_scores[first : last + 1, label]
        yield Stretch(int(label), int(first), int(last), float(scores.max()), float(scores.mean()))


def heard_s(
    bag_scores: FloatArray,
    start_s: DoubleArray,
    end_s: DoubleArray,
    threshold: float | DoubleArray,
) -> DoubleArray:
    """Seconds in which each tag was heard, (K,) float64: the bags that reach the threshold."""
    heard = bag_scores >= threshold
    return np.asarray((end_s - start_s) @ heard, np.float64)
