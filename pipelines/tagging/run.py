"""The ``tag`` job: collection in, tables out, nothing lost, nothing twice.

Everything that can be wrong with a command is found before Ray is started. Then the driver sends
batches through the operators, commits what is staged as receipts come in, and lets Ray tasks
publish it, but for the last entry.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.inputs.extras import Extras
from pipelines.output.commit_log import CommitLog
from pipelines.output.erasure import finish_forgetting
from pipelines.output.heartbeat import Heartbeat
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.redoing import redo
from pipelines.output.run_records import RunRecord, new_run_id
from pipelines.output.settings import open_output, read_settings
from pipelines.output.views import write_views
from pipelines.runtime import cluster
from pipelines.runtime.metrics import RunMetrics
from pipelines.runtime.packages import package_versions
from pipelines.runtime.progress import Progress
from pipelines.runtime.ray_errors import plain_errors
from pipelines.runtime.work import estimated_seconds, fits_one_process
from pipelines.storage.errors import StoreUnavailable
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import Store, open_store
from pipelines.tagging import batch_tagger
from pipelines.tagging.batches import divide
from pipelines.tagging.board import LocalBoard
from pipelines.tagging.committer import Committer, DirectPublisher, Publisher
from pipelines.tagging.estimate import estimate, useful_workers
from pipelines.tagging.job import TagJob
from pipelines.tagging.model import checked_model
from pipelines.tagging.place import warn_of_place
from pipelines.tagging.plan import Plan, Receipt, receipts
from pipelines.tagging.recorded_run import recorded
from pipelines.tagging.selection import input_access, listed, pending
from pipelines.tagging.staged_rows import RowSettings, left_out, output_settings, thresholds
from pipelines.tagging.watch import Watch
from tagger.card import ModelFiles
from tagger.errors import CommandError

MOST_ROUNDS: Final = 3  # of tagging what the store has damaged before it was committed


def tag(job: TagJob, command: list[str]) -> RunRecord:
    """Run the job; the record says what came of it.

    Raises
    ------
    CommandError : before any work, when the command cannot be carried out as given
    AccessDenied, StoreUnavailable : a store gave out; what was staged by then is kept
    ClusterLost, NodesMissing : the Ray cluster did; likewise
    """
    retries = RetryCount()
    model = checked_model(job)
    settings = output_settings(job, model.card)
    clips, skipped, extras = listed(job)
    store = open_store(job.out, job.store_patience_s)
    open_output(store, settings, left_out(job))
    warn_of_place(job, store)
    record = RunRecord(
        new_run_id(),
        command,
        asdict(job) | thresholds(read_settings(store)),
        model.card.model_id,
        model.card.labelling,
        n_listed=len(clips),
        skipped=skipped,
        versions=package_versions(),
    )
    lock = Lock(store, record.model_id, record.run_id)

    watch = Watch(record)
    with recorded(record, store, lock, job.max_failed):
        try:
            _TagRun(job, store, model, record, lock, watch).work(clips, extras)
        finally:
            record.n_retries = record.tally.n_retries + retries.n
    watch.tell_completed()
    return record


class _TagRun:
    """One run upon an output that is open and locked."""

    def __init__(
        self,
        job: TagJob,
        store: Store,
        model: ModelFiles,
        record: RunRecord,
        lock: Lock,
        watch: Watch,
    ) -> None:
        self._job = job
        self._store = store
        self._model = model
        self._record = record
        self._lock = lock
        self._watch = watch
        self._run = Run(record.run_id, f"{datetime.now(UTC):%Y-%m-%d}")
        self._commit_log = CommitLog(store, record.model_id)

    def work(self, clips: pa.Table, extras: Extras) -> None:
        """Finish what earlier runs left, then do what is left to do.

        Parameters
        ----------
        clips, extras : what was listed
        """
        self._extras = extras
        with Heartbeat(self._record, self._store, self._watch.look):
            self._work(clips)

    def _work(self, clips: pa.Table) -> None:
        record = self._record
        require_log(self._commit_log)
        finish_forgetting(self._store, self._run, held=record.model_id)
        if self._job.redo_entry is not None:
            redo(self._commit_log, self._run, self._job.redo_entry)
        record.n_recovered_entries = len(recover(self._commit_log, self._run, self._publish))
        require_tables(self._commit_log)
        todo, record.n_done_before, record.n_given_up, record.n_forgotten = pending(
            clips, self._commit_log, self._job
        )
        record.n_to_do = len(todo)
        if len(todo):
            self._execute(todo)
            recover(self._commit_log, self._run, self._publish)
        write_views(self._store)

    def _publish(self, entry: Entry) -> None:
        publish(self._store, self._record.model_id, entry)

    def _execute(self, todo: pa.Table) -> None:
        """Tag ``todo`` where it is done soonest: in this process, or on Ray."""
        cpu_s = estimate(todo, self._model.card).cpu_s
        if fits_one_process(self._job.resources, cpu_s):
            publisher = DirectPublisher(self._commit_log)
            self._carry_out(todo, 1, partial(batch_tagger.carry_out, model=self._model), publisher)
            return
        workers = cluster.connect(self._job.resources, useful_workers(todo, self._model.card))
        self._record.n_gpus = workers.n_gpus
        from pipelines.tagging import operators
        from pipelines.tagging.ray_board import RayBoard
        from pipelines.tagging.ray_publisher import RayPublisher

        self._watch.metrics = RunMetrics(self._record.model_id)
        self._watch.board = RayBoard()
        on_ray = partial(operators.carry_out, model=self._model, workers=workers)
        with plain_errors():
            self._carry_out(todo, workers.n_cpus, on_ray, RayPublisher(self._commit_log))

    def _carry_out(
        self,
        todo: pa.Table,
        n_workers: int,
        carry_out: Callable[[Plan], Iterator[Receipt]],
        publisher: Publisher,
    ) -> None:
        """Tag ``todo``; commit and publish on the way. What the store damages is done again."""
        self._record.begin_work(float(estimated_seconds(todo).sum()))
        with Progress("tagging", "clips", len(todo)) as progress:
            for _ in range(MOST_ROUNDS):
                table, bounds = divide(todo, n_workers)
                todo = self._round(self._plan(table, bounds), carry_out, publisher, progress)
                if not len(todo):
                    break
            else:
                raise StoreUnavailable(
                    f"{self._store.root}: what is staged there comes back changed, again and "
                    "again: check the disk or the store"
                )
        self._watch.board = LocalBoard()  # where nothing is under way
        self._watch.look()

    def _plan(self, clips: pa.Table, bounds: npt.NDArray[np.int64]) -> Plan:
        rows = RowSettings(
            read_settings(self._store),
            self._record.model_id,
            self._record.run_id,
            self._job.recorded_at,
        )
        how = self._job.resources
        plan = Plan(clips, bounds, self._store, rows, self._job.limits, how.precision)
        plan = replace(plan, extractor_batch=how.extractor_batch, board=self._watch.board)
        return replace(plan, access=input_access(self._job), extras=self._extras)

    def _round(
        self,
        plan: Plan,
        carry_out: Callable[[Plan], Iterator[Receipt]],
        publisher: Publisher,
        progress: Progress,
    ) -> pa.Table:
        """Carry out a plan; gives the clips that are left, as their staged files were damaged."""
        committer = Committer(self._commit_log, self._run, self._record, publisher)
        for receipt in receipts(plan, carry_out):
            self._record.tally = done = self._record.tally.plus(receipt.tally)
            note = f"{done.audio_s / 3600:.2f} h of audio, {done.n_failed:,} failed"
            progress.show(done.n_recordings, note)
            committer.add(receipt)
            self._stop_if_lock_lost()
        committer.finish()
        if not committer.n_lost:
            return plan.clips.slice(0, 0)
        failed = self._commit_log.failed()
        tried = failed["clip_id"].filter(pc.equal(failed["run_id"], self._run.run_id))
        tagged = self._commit_log.tagged()
        done_ids = pa.chunked_array([*tagged.chunks, *tried.chunks], pa.string()).combine_chunks()
        return plan.clips.filter(pc.invert(pc.is_in(plan.clips["clip_id"], value_set=done_ids)))

    def _stop_if_lock_lost(self) -> None:
        if self._lock.lost:
            raise CommandError(
                f"another job has taken over {self._store.root}: let it end and start this one "
                "again; what this one has staged is kept"
            )
