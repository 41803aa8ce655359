"""Clips divided into batches.

A batch is what one worker takes at a time and what one staged file holds: some seconds of work, so
that Ray's cost per task does not show and little is lost with a worker. A recording that fills a
batch stands alone. Those come first, the longest in front, so that none of them is begun when all
others are done.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.runtime.work import estimated_seconds

LONGEST_BATCH_S: Final = 1800.0  # audio; some 10 s of work for a core with the bundled model
SHORTEST_BATCH_S: Final = 60.0
BATCHES_PER_WORKER: Final = 8  # at least, so that all workers end at about the same time


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
    target = np.clip(share, SHORTEST_BATCH_S, LONGEST_BATCH_S)
    alone = np.flatnonzero(seconds >= target)
    alone = alone[np.argsort(-seconds[alone], kind="stable")]
    others = np.flatnonzero(seconds < target)
    filled = np.cumsum(seconds[others]) // target
    starts = np.flatnonzero(np.diff(filled, prepend=-1.0))
    bounds = np.concatenate([np.arange(len(alone)), len(alone) + starts, [len(clips)]])
    return clips.take(pa.array(np.concatenate([alone, others]))), bounds.astype(np.int64)
