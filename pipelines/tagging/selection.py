"""Which clips a run works on: what its inputs name, less what the log of the output has done."""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.inputs import listing
from pipelines.inputs.access import Access
from pipelines.inputs.extras import Extras
from pipelines.inputs.named import access_of
from pipelines.inputs.skipped import Skipped, in_words
from pipelines.output.commit_log import CommitLog
from pipelines.tagging.job import TagJob
from tagger.errors import NoAudioError


def input_access(job: TagJob) -> Access:
    """How a job reads what its inputs name."""
    return access_of(job.inputs, job.input_limits, job.store_patience_s)


class Listed(NamedTuple):
    """The clips that a job's inputs name, schema ``KEPT``, and what was passed over, by kind.

    The further columns of manifests are in ``extras``.
    """

    clips: pa.Table
    skipped: dict[str, int]
    extras: Extras


def listed(job: TagJob) -> Listed:
    """List the inputs of a job; NoAudioError when there is no audio in them."""
    skipped, extras = Skipped(), Extras()
    access = input_access(job)
    clips = listing.gather_kept(job.inputs, skipped, job.follow_links, access, extras)
    if not len(clips):
        raise NoAudioError(f"no audio in {', '.join(job.inputs)}; passed over: {in_words(skipped)}")
    return Listed(clips, dict(skipped), extras)


class Pending(NamedTuple):
    """Clips to be worked on, and how many others are tagged, given up, or forgotten."""

    clips: pa.Table
    n_tagged: int
    n_given_up: int
    n_forgotten: int = 0


def pending(clips: pa.Table, commit_log: CommitLog | None, job: TagJob) -> Pending:
    """The clips that are neither tagged nor given up by the log; all where there is no log yet."""
    if commit_log is None:
        return Pending(clips.slice(0, job.limit), 0, 0)
    n_listed = len(clips)
    clips = clips.filter(pc.invert(commit_log.forgotten.mask(clips["uri"])))
    tagged = pc.is_in(clips["clip_id"], value_set=commit_log.tagged().combine_chunks())
    failed = commit_log.failed()
    final = failed["clip_id"].filter(failed["final"]).combine_chunks()
    given_up = pc.is_in(clips["clip_id"], value_set=final[:0] if job.retry_failed else final)
    open_ones = clips.filter(pc.invert(pc.or_(tagged, given_up)))
    n_tagged, n_given_up = (pc.sum(found).as_py() or 0 for found in (tagged, given_up))
    n_forgotten = n_listed - len(clips)
    return Pending(open_ones.slice(0, job.limit), n_tagged, n_given_up, n_forgotten)
