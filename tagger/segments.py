"""Times of segments, and bags of consecutive segments (paper sections 3.2 and 3.4).

Segment k of a clip covers [0.96 k, 0.96 (k + 1)) seconds of what trimming left of it; a bag is what
one attention pass looks at, six consecutive segments in the paper.
"""

import numpy as np

from tagger.arrays import DoubleArray, IndexArray
from tagger.logmel import SEGMENT_S


def segment_times(
    n_segments: int, content_start_s: float, content_end_s: float
) -> tuple[DoubleArray, DoubleArray]:
    """Where each segment lies in the original recording, trimming included.

    Parameters
    ----------
    n_segments : at least 1
    content_start_s, content_end_s : what trimming left of the recording, in seconds; the end
        matters only to a clip too short for a whole patch, whose one segment ends there

    Returns
    -------
    start_s, end_s : (n_segments,) float64 each, seconds; never beyond ``content_end_s``
    """
    start_s = content_start_s + SEGMENT_S * np.arange(n_segments, dtype=np.float64)
    return start_s, np.minimum(start_s + SEGMENT_S, content_end_s)


def bags(n_segments: int, bag_size: int) -> IndexArray:
    """Consecutive segments in bags of equal size (paper sections 3.2 and 3.4; PAPER.md D14).

    The paper repeats what is too short for a bag. So what remains after the last whole bag is
    repeated cyclically until it fills one: 8 segments in bags of 6 give [0 1 2 3 4 5] and
    [6 7 6 7 6 7].

    Parameters
    ----------
    n_segments, bag_size : at least 1

    Returns
    -------
    (n_bags, bag_size) int64 segment numbers; every segment is in exactly one bag

    Raises
    ------
    ValueError : a clip without segments, or bags without room
    """
    if n_segments < 1 or bag_size < 1:
        raise ValueError(f"no bags of {bag_size} from {n_segments} segments")
    first = np.arange(0, n_segments, bag_size, dtype=np.int64)[:, None]
    length = np.minimum(bag_size, n_segments - first)
    return first + np.arange(bag_size, dtype=np.int64) % length
