"""The ``retag`` job: the embeddings of one model become the rows of another.

As ``tag`` does, it stages rows, commits them and publishes them. So it may be killed anywhere,
and is simply started again. But the rows come from table files, in this process.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output.commit_log import CommitLog
from pipelines.output.erasure import erase_pending, locked
from pipelines.output.heartbeat import Heartbeat
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.run_records import RunRecord, new_run_id
from pipelines.output.settings import Settings, mark_version, read_settings
from pipelines.output.staging import stage
from pipelines.output.tally import MODEL_STAGE, Tally
from pipelines.output.views import write_views
from pipelines.retagging.embedded import batches, read_clips
from pipelines.retagging.job import RetagJob
from pipelines.retagging.rows import retagged
from pipelines.retagging.sources import Source, find_source
from pipelines.retagging.upgrading import upgrade
from pipelines.runtime.packages import package_versions
from pipelines.runtime.progress import Progress
from pipelines.storage.errors import StoreUnavailable
from pipelines.storage.store import Store, open_store
from pipelines.tagging.committer import Committer, DirectPublisher
from pipelines.tagging.plan import Receipt
from pipelines.tagging.recorded_run import recorded
from pipelines.tagging.staged_rows import RowSettings, thresholds
from tagger import schema
from tagger.errors import CommandError
from tagger.tagging import Tagger

ROUNDED: Final = "the embeddings are stored as float16, so scores are exact to two or three digits"
NO_TEXTURE: Final = "novelty is told from embeddings and scores alone, not from the sound's texture"


@dataclass(frozen=True)
class Retagged:
    """What ``retag`` did.

    Attributes
    ----------
    model_id : the model that tagged
    embedded_by : the model whose embeddings were taken
    n_clips : clips that were tagged
    n_before : clips of ``embedded_by`` that ``model_id`` had tagged before
    notes : what else is to be known
    """

    model_id: str
    embedded_by: str
    n_clips: int
    n_before: int
    notes: tuple[str, ...]


def retag(job: RetagJob, command: list[str]) -> Retagged:
    """Run the job.

    Raises
    ------
    CommandError : no output, no such model, other extractors, another job is at work, or table
        files are gone or were changed
    AccessDenied, StoreUnavailable : a store gave out; the same command goes on
    """
    store = open_store(job.out, job.store_patience_s)
    settings = read_settings(store)
    source = find_source(job, store, settings)
    tagger = Tagger(source.model)
    mark_version(store)
    new = source.model.card.model_id
    run = Run(new_run_id(), f"{datetime.now(UTC):%Y-%m-%d}")
    notes = _notes(source, settings)
    if source.is_own:
        with locked(store, run):
            erase_pending(store, run)
            done = Retagged(new, new, upgrade(store, source, tagger, run), 0, notes)
    else:
        config = asdict(job) | thresholds(settings)
        config |= {"embedded_by": source.model_id, "notes": notes}
        labelling = source.model.card.labelling
        versions = package_versions()
        record = RunRecord(run.run_id, command, config, new, labelling, versions=versions)
        lock = Lock(store, new, run.run_id)
        with locked(store, run, but=new), recorded(record, store, lock):
            erase_pending(store, run)
            Retagging(store, source, tagger, record, run, lock).work()
        n_clips, n_before = record.tally.n_tagged, record.n_done_before
        done = Retagged(new, source.model_id, n_clips, n_before, notes)
    write_views(store)
    return done


def _notes(source: Source, settings: Settings) -> tuple[str, ...]:
    """What rows from embeddings lack that those of tagging again would have."""
    found = []
    if settings.embedding_dtype == "float16":
        found.append(ROUNDED)
    if source.model.card.novelty and not source.is_own:
        found.append(NO_TEXTURE)
    return tuple(found)


class Retagging:
    """One run upon an output of which the models are locked."""

    def __init__(
        self,
        store: Store,
        source: Source,
        tagger: Tagger,
        record: RunRecord,
        run: Run,
        lock: Lock,
    ) -> None:
        self._store = store
        self._source = source
        self._tagger = tagger
        self._record = record
        self._run = run
        self._lock = lock
        self._new = CommitLog(store, record.model_id)
        self._old = CommitLog(store, source.model_id)

    def work(self) -> None:
        """Finish what earlier runs left, then tag what the old model tagged and the new one not."""
        with Heartbeat(self._record, self._store, lambda: None):
            for log in (self._old, self._new):
                require_log(log)
                recover(log, self._run, partial(publish, self._store, log.model_id))
                require_tables(log)
            clips = self._current()
            self._record.n_listed = len(clips)
            done = pc.is_in(clips, value_set=self._new.tagged().combine_chunks())
            todo = clips.filter(pc.invert(done))
            self._record.n_done_before = len(clips) - len(todo)
            self._record.n_to_do = len(todo)
            self._tag(todo)

    def _current(self) -> pa.Array:
        """The clip_ids of the version of each recording that the old model tagged last."""
        fields = schema.tables("float32")["clips"]
        fields = pa.schema([fields.field(name) for name in ("clip_id", "uri", "processed_at")])
        parts = [read_clips(self._old, number, fields) for number in self._old.numbers()]
        clips = pa.concat_tables([fields.empty_table(), *parts])
        latest = clips.sort_by([("processed_at", "descending"), ("clip_id", "ascending")])
        of_each = latest.group_by("uri", use_threads=False).aggregate([("clip_id", "first")])
        return of_each["clip_id_first"].combine_chunks()

    def _tag(self, todo: pa.Array) -> None:
        """Tag some clips; commit and publish on the way."""
        committer = Committer(self._new, self._run, self._record, DirectPublisher(self._new))
        with Progress("retagging", "clips", len(todo)) as progress:
            for receipt in self._receipts(todo):
                self._record.tally = self._record.tally.plus(receipt.tally)
                progress.show(self._record.tally.n_tagged)
                committer.add(receipt)
                if self._lock.lost:
                    raise CommandError(
                        f"another job has taken over {self._store.root}: let it end and start "
                        "this one again; what this one has staged is kept"
                    )
            committer.finish()
        if committer.n_lost:
            raise StoreUnavailable(
                f"{self._store.root}: what is staged there comes back changed: check the disk or "
                "the store, then start this one again"
            )

    def _receipts(self, todo: pa.Array) -> Iterator[Receipt]:
        """Stage the rows of some clips, batch by batch."""
        output = read_settings(self._store)
        settings = RowSettings(output, self._record.model_id, self._run.run_id)
        names, dtype = self._source.extractors, output.embedding_dtype
        n_batches = 0
        for number in self._old.numbers():
            for batch in batches(self._old, number, names, dtype, todo):
                tally = Tally(n_tagged=len(batch.clips), n_recordings=len(batch.clips))
                tally.audio_s = pc.sum(batch.clips["duration_s"]).as_py()
                tally.n_segments = pc.sum(batch.clips["n_segments"]).as_py()
                tally.size_bytes = pc.sum(batch.clips["size_bytes"]).as_py()
                with tally.timed(MODEL_STAGE):
                    rows = retagged(batch, self._tagger, settings)
                with tally.timed("staging"):
                    file = stage(rows, self._store, settings.model_id)
                yield Receipt(n_batches, file, len(batch.clips), tally)
                n_batches += 1
