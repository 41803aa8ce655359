"""The ``tag`` job: collection in, tables out, nothing lost, nothing twice (design 4).

Everything that can be wrong with a command is found before Ray is started. Then the driver sends
batches through the operators, commits what is staged as receipts come in, and lets Ray tasks
publish it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines import cluster, listing
from pipelines.config import TagJob
from pipelines.entry import Entry, Run
from pipelines.interrupt import Interrupted
from pipelines.ledger import Ledger, recover
from pipelines.lock import Lock
from pipelines.output import Settings, open_output
from pipelines.progress import Progress
from pipelines.publication import publish, write_views
from pipelines.rows import RowSettings
from pipelines.runs import RunRecord, RunState, new_run_id
from pipelines.stages import Tally
from pipelines.store import AccessDenied, Store, StoreUnavailable, open_store
from pipelines.work import divide
from tagger import schema
from tagger.card import ModelFiles, read_model
from tagger.errors import NoAudioError
from tagger.logmel import FRONT_END

COMMIT_CLIPS: Final = 10_000
COMMIT_SEGMENTS: Final = 250_000  # 128 MB of embeddings
LAST_WORDS_S: Final = 1.0  # for a store to take the record of a run that was told to end


@dataclass(frozen=True)
class Preview:
    """What a run would do: clips listed, of them tagged before, given up before, and to do."""

    n_listed: int
    n_tagged: int
    n_given_up: int
    n_to_do: int
    bytes_to_do: int


def tag(job: TagJob, command: list[str]) -> RunRecord:
    """Run the job; the record says what came of it.

    Raises
    ------
    CommandError : before any work, when the command cannot be carried out as given
    AccessDenied, StoreUnavailable : a store gave out; what was staged by then is kept
    """
    model = _checked_model(job.model)
    clips = _listed(job)
    store = open_store(job.out)
    open_output(store, _settings(job))
    record = RunRecord(new_run_id(), command, asdict(job), model.card.model_id, n_listed=len(clips))
    with Lock(store, record.model_id, record.run_id), _recorded(record, store, job.max_failed):
        _work(job, store, model, clips, record)
    return record


def preview(job: TagJob) -> Preview:
    """What ``tag`` would do now; writes nothing."""
    model = read_model(job.model)
    clips = _listed(job)
    store = open_store(job.out)
    begun = store.list(f"_log/{model.card.model_id}")
    ledger = Ledger(store, model.card.model_id) if begun else None
    open_ones, n_tagged, n_given_up = _pending(clips, ledger, job.retry_failed)
    todo = open_ones.slice(0, job.limit)
    size = pc.sum(todo["size_bytes"]).as_py() or 0
    return Preview(len(clips), n_tagged, n_given_up, len(todo), size)


def _listed(job: TagJob) -> pa.Table:
    skipped = Counter[str]()
    clips = listing.gather(job.inputs, skipped)
    if not len(clips):
        passed_over = ", ".join(f"{n:,} by {kind}" for kind, n in skipped.items()) or "nothing"
        raise NoAudioError(f"no audio in {', '.join(job.inputs)}; passed over: {passed_over}")
    return clips


def _checked_model(url: str) -> ModelFiles:
    from tagger.checkpoint import build  # torch: seconds that a wrong command need not cost

    model = read_model(url)
    build(model)
    return model


def _settings(job: TagJob) -> Settings:
    optional = {"embeddings": job.embeddings, "timeline": job.timeline}
    tables = tuple(name for name in schema.tables(job.embedding_dtype) if optional.get(name, True))
    return Settings(tables, job.top_k, job.threshold, job.embedding_dtype, json.dumps(FRONT_END))


@contextmanager
def _recorded(record: RunRecord, store: Store, max_failed: float) -> Iterator[None]:
    """Keep the output's record of the run true, however the run ends."""
    record.write(store)
    try:
        yield
    except BaseException as error:
        state = RunState.INTERRUPTED if isinstance(error, Interrupted) else RunState.FAILED
        record.end(state, str(error))
        with suppress(AccessDenied, StoreUnavailable):
            record.write(store.with_patience(LAST_WORDS_S))
        raise
    n_failed = record.tally.n_failed
    over = n_failed > max_failed * (n_failed + record.tally.n_tagged)
    record.end(RunState.OVER_BUDGET if over else RunState.COMPLETE)
    record.write(store)


def _work(job: TagJob, store: Store, model: ModelFiles, clips: pa.Table, record: RunRecord) -> None:
    """Finish what earlier runs left, then do what is left to do."""
    run = Run(record.run_id, f"{datetime.now(UTC):%Y-%m-%d}")
    ledger = Ledger(store, record.model_id)

    def publish_here(entry: Entry) -> None:
        publish(store, record.model_id, entry)

    record.n_recovered_entries = len(recover(ledger, run, publish_here))
    open_ones, record.n_done_before, record.n_given_up = _pending(clips, ledger, job.retry_failed)
    todo = open_ones.slice(0, job.limit)
    record.n_to_do = len(todo)
    if len(todo):
        _execute(job, store, model, ledger, run, todo, record)
        recover(ledger, run, publish_here)
        write_views(store)


def _pending(
    clips: pa.Table, ledger: Ledger | None, retry_failed: bool
) -> tuple[pa.Table, int, int]:
    """The listed clips that are open, and how many are tagged and given up."""
    if ledger is None:
        return clips, 0, 0
    tagged = pc.is_in(clips["clip_id"], value_set=ledger.tagged().combine_chunks())
    failed = ledger.failed()
    final = failed["clip_id"].filter(failed["final"]).combine_chunks()
    given_up = pc.is_in(clips["clip_id"], value_set=final)
    closed = tagged if retry_failed else pc.or_(tagged, given_up)
    n_given_up = 0 if retry_failed else pc.sum(given_up).as_py() or 0
    return clips.filter(pc.invert(closed)), pc.sum(tagged).as_py() or 0, n_given_up


def _execute(
    job: TagJob,
    store: Store,
    model: ModelFiles,
    ledger: Ledger,
    run: Run,
    todo: pa.Table,
    record: RunRecord,
) -> None:
    """Tag ``todo`` on Ray; commit and publish on the way."""
    workers = cluster.connect(job.resources)
    from pipelines import operators

    table, bounds = divide(todo, workers.n_cpus)
    rows = RowSettings(
        record.model_id,
        record.run_id,
        job.top_k,
        job.threshold,
        job.embeddings,
        job.embedding_dtype,
        job.timeline,
    )
    plan = operators.Plan(table, bounds, store, rows, job.limits, job.resources.precision)
    committer = _Committer(ledger, run, record)
    progress = Progress(len(todo))
    with cluster.plain_errors():
        for file, tally in operators.receipts(plan, model, workers):
            record.tally.add(tally)
            committer.add(file, tally)
            progress.show(record.tally)
        progress.show(record.tally, last=True)
        committer.finish()


class _Committer:
    """Gathers staged files; commits them when it is worth an entry, and has Ray publish it."""

    def __init__(self, ledger: Ledger, run: Run, record: RunRecord) -> None:
        import ray

        self._publish = ray.remote(num_cpus=0)(publish)
        self._ledger = ledger
        self._run = run
        self._record = record
        self._files: list[str] = []
        self._waiting = Tally()
        self._publishing: list[Any] = []

    def add(self, file: str, tally: Tally) -> None:
        self._files.append(file)
        self._waiting.add(tally)
        n_clips = self._waiting.n_tagged + self._waiting.n_failed
        if n_clips >= COMMIT_CLIPS or self._waiting.n_segments >= COMMIT_SEGMENTS:
            self._commit()

    def finish(self) -> None:
        """Commit the rest, and wait until everything is published."""
        import ray

        self._commit()
        ray.get(self._publishing)

    def _commit(self) -> None:
        entry = self._ledger.commit(self._run, self._files)
        if entry is not None:
            self._record.entries.append(entry.number)
            self._record.write(self._ledger.store)
            self._publishing.append(
                self._publish.remote(self._ledger.store, self._ledger.model_id, entry)
            )
        self._files = []
        self._waiting = Tally()
