"""Clips divided into batches.

A batch is what one worker takes at a time and what one staged file holds: some seconds of work, so
that Ray's cost per task does not show and little is lost with a worker. A recording that fills a
batch stands alone. Those come first, the longest in front, so that none of them is begun when all
others are done. Towards the end batches get smaller, each at most half of a worker's share of what
is left, so that all workers end at about the same time (guided self-scheduling, Polychronopoulos
and Kuck 1987).
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.runtime.work import estimated_seconds

LONGEST_BATCH_S: Final = 1800.0  # audio; some 10 s of work for a core with the bundled model
SHORTEST_BATCH_S: Final = 60.0
BATCHES_PER_WORKER: Final = 8  # at least


def divide(clips: pa.Table, n_workers: int) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Clips in the order in which they are worked on, and where their batches begin and end.

    Parameters
    ----------
    clips : at least one, schema ``LISTING``

    Returns
    -------
    table : the same rows
    bounds : (n_batches + 1,) int64; batch i is rows ``bounds[i]`` to ``bounds[i + 1]``
    """
    seconds = estimated_seconds(clips)
    share = seconds.sum() / (n_workers * BATCHES_PER_WORKER)
    longest = float(np.clip(share, SHORTEST_BATCH_S, LONGEST_BATCH_S))
    alone = np.flatnonzero(seconds >= longest)
    alone = alone[np.argsort(-seconds[alone], kind="stable")]
    others = np.flatnonzero(seconds < longest)
    ends = _ends(seconds[others], longest, n_workers)
    bounds = np.concatenate([np.arange(len(alone) + 1), len(alone) + ends])
    return clips.take(pa.array(np.concatenate([alone, others]))), bounds.astype(np.int64)


def _ends(
    seconds: npt.NDArray[np.float64], longest_s: float, n_workers: int
) -> npt.NDArray[np.int64]:
    """Where the batches of clips end, given the work of each clip."""
    done_s = np.concatenate([[0.0], np.cumsum(seconds)])
    ends = [0]
    while ends[-1] < len(seconds):
        left_s = done_s[-1] - done_s[ends[-1]]
        size_s = np.clip(left_s / (2 * n_workers), SHORTEST_BATCH_S, longest_s)
        end = int(np.searchsorted(done_s, done_s[ends[-1]] + size_s))
        ends.append(min(end, len(seconds)))
    return np.array(ends[1:], np.int64)
