"""What there is to do, with which model, and in which portions (design 4.1, 7).

A batch is what one worker takes at a time and what one staged file holds: some seconds of work, so
that Ray's cost per task does not show and little is lost with a worker. A recording that fills a
batch stands alone, and those come first, the longest in front, so that none of them is begun when
all others are done.
"""

from collections import Counter
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines import listing
from pipelines.config import TagJob
from pipelines.ledger import Ledger
from pipelines.retry import HOW_TO_LOG_IN, AccessDenied, refused_credentials
from pipelines.uris import is_local
from tagger.card import ModelFiles, read_model
from tagger.errors import CommandError, NoAudioError

LONGEST_BATCH_S: Final = 1800.0  # audio; some 10 s of work for a core with the bundled model
SHORTEST_BATCH_S: Final = 60.0
BATCHES_PER_WORKER: Final = 8  # at least, so that all workers end at about the same time
CLIP_COST_S: Final = 2.0  # what any clip costs beside its length, in seconds of audio

_BYTES_PER_S: Final = {
    r"\.(wav|wave|aif|aiff|aifc|au|caf|w64|rf64)$": 176_400.0,  # 16 bit stereo at 44.1 kHz
    r"\.flac$": 90_000.0,
    r"\.(mp4|m4v|mov|mkv|webm|avi)$": 200_000.0,
}
_COMPRESSED_BYTES_PER_S: Final = 16_000.0


def model_of(job: TagJob) -> ModelFiles:
    """The model to tag with, verified; CommandError and AccessDenied say what is wrong with it."""
    try:
        model = read_model(job.model)
    except CommandError as error:
        cause = error.__cause__
        if cause is None or is_local(job.model):
            raise
        if isinstance(cause, PermissionError) or refused_credentials(cause):
            raise AccessDenied(f"{error}; {HOW_TO_LOG_IN}") from error
        raise
    model.card.require_members()
    return model


def listed(job: TagJob) -> pa.Table:
    """The clips that a job's inputs name, schema ``LISTING``; NoAudioError when there is none."""
    skipped = Counter[str]()
    clips = listing.gather(job.inputs, skipped)
    if not len(clips):
        passed_over = ", ".join(f"{n:,} by {kind}" for kind, n in skipped.items()) or "nothing"
        raise NoAudioError(f"no audio in {', '.join(job.inputs)}; passed over: {passed_over}")
    return clips


class Pending(NamedTuple):
    """Listed clips that are open, and how many are not: tagged, or given up as they failed."""

    clips: pa.Table
    n_tagged: int
    n_given_up: int


def pending(clips: pa.Table, ledger: Ledger | None, job: TagJob) -> Pending:
    """What of ``clips`` the log leaves to do; all of it where there is no log yet."""
    if ledger is None:
        return Pending(clips.slice(0, job.limit), 0, 0)
    tagged = pc.is_in(clips["clip_id"], value_set=ledger.tagged().combine_chunks())
    failed = ledger.failed()
    final = failed["clip_id"].filter(failed["final"]).combine_chunks()
    given_up = pc.is_in(clips["clip_id"], value_set=final[:0] if job.retry_failed else final)
    open_ones = clips.filter(pc.invert(pc.or_(tagged, given_up)))
    n_tagged, n_given_up = (pc.sum(found).as_py() or 0 for found in (tagged, given_up))
    return Pending(open_ones.slice(0, job.limit), n_tagged, n_given_up)


def estimated_seconds(clips: pa.Table) -> npt.NDArray[np.float64]:
    """Work that each clip probably is, in seconds of audio, from its suffix and size."""
    uri = pc.utf8_lower(clips["uri"])
    rate = np.full(len(clips), _COMPRESSED_BYTES_PER_S)
    for pattern, bytes_per_s in _BYTES_PER_S.items():
        rate[pc.match_substring_regex(uri, pattern).to_numpy()] = bytes_per_s
    seconds: npt.NDArray[np.float64] = CLIP_COST_S + clips["size_bytes"].to_numpy() / rate
    return seconds


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
