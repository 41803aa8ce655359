"""``compact``: many small table files merged into few large ones, and the log with them."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.housekeeping.jobs import CompactJob
from pipelines.output import compaction, forgotten
from pipelines.output.commit_log import CommitLog
from pipelines.output.erasure import erase_pending, locked
from pipelines.output.inventory import models, table_files
from pipelines.output.log_entry import Run
from pipelines.output.run_records import new_run_id
from pipelines.output.settings import mark_version
from pipelines.output.views import write_views
from pipelines.storage.store import Store, open_store


@dataclass(frozen=True)
class Compacted:
    """What ``compact`` did to the tables and the log of one model.

    Attributes
    ----------
    n_files_before, n_files : table files before and afterwards
    n_entries_before, n_entries : entries of the log
    n_emptied : of ``n_files``, those without rows, which a later ``compact`` removes
    """

    model_id: str
    n_files_before: int
    n_files: int
    n_entries_before: int
    n_entries: int
    n_emptied: int


def compact(job: CompactJob) -> tuple[Compacted, ...]:
    """Run the job; the result tells of each model.

    Raises
    ------
    CommandError : no output, another job is at work on it, or table files are gone
    AccessDenied, StoreUnavailable : a store gave out; the next command completes what was begun
    """
    store = open_store(job.out, job.store_patience_s)
    mark_version(store)
    run = Run(new_run_id(), f"{datetime.now(UTC):%Y-%m-%d}")
    with locked(store, run):
        erase_pending(store, run)
        found = tuple(_compact(store, model_id, run) for model_id in models(store))
        forgotten.merge(store, run.run_id)
    write_views(store)
    return found


def _compact(store: Store, model_id: str, run: Run) -> Compacted:
    commit_log = CommitLog(store, model_id)
    n_files, n_entries = len(table_files(store, model_id)), commit_log.n_entries
    n_emptied = compaction.compact(commit_log, run)
    return Compacted(
        model_id=model_id,
        n_files_before=n_files,
        n_files=len(table_files(store, model_id)),
        n_entries_before=n_entries,
        n_entries=commit_log.n_entries,
        n_emptied=n_emptied,
    )
