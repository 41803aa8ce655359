"""The log of an output: which staged rows count.

``_log/<model_id>/00000042.json`` says which rows of which staged files count. Entries are numbered
without gaps and never change. What is done is what the entries say; the tables follow from them.

Why each clip counts once, whoever is killed, whoever comes back from the dead:

- Entry N is created only where it does not exist, by a writer that has read all entries before N.
  So each entry is decided with full knowledge of the earlier ones: a clip tagged in one of them is
  not taken again. The loser of a race reads the winner's entry and decides anew.
- Staged files are named uniquely per attempt and written whole. An entry names every file that it
  considered, also those of which no row counts, and a file once named is never considered again.
  So a file that its publisher has removed cannot be named by a later entry, however stale the
  view of the driver that had read it.
- A file is removed only after the marker of the entry that names it, or, unnamed, when the entries
  so far make every row of it void, which no later entry changes.
- A failed row is void when its clip is tagged, or when the same run has recorded a failure of it
  already (a replay of Ray's, not another attempt).

``recover`` at the start and at the end of a run publishes what others committed and were killed
over, and commits what they staged.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import BinaryIO, Final, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.log_entry import FAILED, Entry, Failed, Run, Staged
from pipelines.output.settings import read_settings
from pipelines.storage.store import Store
from tagger.errors import CommandError

T = TypeVar("T")
S = TypeVar("S")

PART_BYTES: Final = 128 << 20
"""Staged bytes that go into one file of a table: what a publisher holds in memory at a time."""

FILES_PER_RECOVERED_ENTRY: Final = 256


class CommitLog:
    """What a driver knows of the log of one model; grows as entries are made or met.

    Holds an Arrow array of clip_ids (36 bytes per clip), not the entries.
    """

    def __init__(self, store: Store, model_id: str) -> None:
        self.store = store
        self.model_id = model_id
        self._settings = read_settings(store)
        self._next = 0
        self._tagged: list[pa.Array] = []
        self._failed: list[pa.Table] = []
        self._named: set[str] = set()
        self.refresh()

    @property
    def n_entries(self) -> int:
        """Entries seen so far; their numbers are 0 to ``n_entries - 1``."""
        return self._next

    def tagged(self) -> pa.ChunkedArray:
        """Return the clip_ids that are in ``clips`` or will be: string, no duplicates."""
        return pa.chunked_array(self._tagged, pa.string())

    def failed(self) -> pa.Table:
        """Return the last attempt of each clip that failed and was not tagged (``FAILED``)."""
        attempts = pa.concat_tables([FAILED.empty_table(), *self._failed])
        open_ones = attempts.filter(
            pc.invert(pc.is_in(attempts["clip_id"], value_set=self.tagged().combine_chunks()))
        )
        last = open_ones.group_by("clip_id", use_threads=False).aggregate(
            [(name, "last") for name in FAILED.names[1:]]
        )
        return last.rename_columns(FAILED.names)

    def refresh(self) -> list[Entry]:
        """Read the entries that are new in the log; return those not yet published."""
        numbers, published = layout.LogFiles.parse(self.store.list(layout.log(self.model_id)))
        if numbers != list(range(len(numbers))):
            raise CommandError(
                f"{self.store.root}: the log of {self.model_id} has a gap; restore its files"
            )
        unpublished = [n for n in numbers if n not in published]
        wanted = sorted({*unpublished, *range(self._next, len(numbers))})
        result = []
        for entry in _in_parallel(self.entry, wanted):
            self._absorb(entry)
            if entry.number in unpublished:
                result.append(entry)
        return result

    def entry(self, number: int) -> Entry:
        """Read an entry from the log."""
        return Entry.from_json(self.store.read(layout.entry(self.model_id, number)))

    def commit(self, run: Run, staged_files: Sequence[str]) -> Entry | None:
        """Make the rows of these staged files count, those that are void apart.

        Parameters
        ----------
        run : the run that the entry and its partition are named after
        staged_files : names in the staging folder; of several rows for a clip the first tagged one
            counts, else the first

        Returns
        -------
        The entry, for publication, or None when no row counts (the files are removed then).
        """
        fresh = [file for file in dict.fromkeys(staged_files) if file not in self._named]
        found = [keys for keys in _in_parallel(self._read_keys, fresh) if keys is not None]
        while True:
            found = [keys for keys in found if keys.file not in self._named]
            chosen = self._choose(found)
            if not chosen:
                self.store.remove(layout.staged(self.model_id, keys.file) for keys in found)
                return None
            entry = self._entry(run, found, chosen)
            if self.store.create(layout.entry(self.model_id, entry.number), entry.to_json()):
                self._absorb(entry)
                return entry
            self._absorb(self.entry(entry.number))

    def staged_leftovers(self) -> tuple[list[str], list[str]]:
        """List the staging folder: files that an entry names, and files that wait for one."""
        paths = self.store.list(layout.staging(self.model_id))
        files = [path.rsplit("/", 1)[1] for path in paths if path.endswith(".parquet")]
        return (
            [file for file in files if file in self._named],
            [file for file in files if file not in self._named],
        )

    def _absorb(self, entry: Entry) -> None:
        if entry.number < self._next:
            return
        self._next = entry.number + 1
        self._named.update(staged.file for staged in entry.staged)
        self._tagged.append(pa.array(entry.clip_ids, pa.string()))
        columns = zip(*entry.failed, strict=True) if entry.failed else ([],) * len(FAILED)
        self._failed.append(pa.table([list(column) for column in columns], schema=FAILED))

    def _read_keys(self, file: str) -> "_Keys | None":
        """Read the few columns that decide; None when the file is gone, its rows then count."""
        try:
            return self.store.scan(
                layout.staged(self.model_id, file), lambda opened: _Keys.read(file, opened)
            )
        except FileNotFoundError:
            return None

    def _choose(self, found: "Sequence[_Keys]") -> "dict[str, _Row]":
        """Choose the rows that count, by clip_id."""
        ids = pa.array([row.clip_id for keys in found for row in keys.rows], pa.string())
        tagged = {
            clip_id
            for known in self._tagged
            for clip_id in known.filter(pc.is_in(known, value_set=ids)).to_pylist()
        }
        tried = {
            (attempt["clip_id"], attempt["run_id"])
            for known in self._failed
            for attempt in known.filter(pc.is_in(known["clip_id"], value_set=ids)).to_pylist()
        }
        chosen: dict[str, _Row] = {}
        for row in (row for keys in found for row in keys.rows):
            if row.clip_id in tagged:
                continue
            if row.reason is not None and (row.clip_id, row.run_id) in tried:
                continue
            before = chosen.get(row.clip_id)
            if before is None or (before.reason is not None and row.reason is None):
                chosen[row.clip_id] = row
        return chosen

    def _entry(self, run: Run, found: "Sequence[_Keys]", chosen: "dict[str, _Row]") -> Entry:
        counting: dict[str, list[int]] = {keys.file: [] for keys in found}
        for row in chosen.values():
            counting[row.file].append(row.row)
        parts = _parts(found)
        failed = [
            Failed(row.clip_id, row.reason, bool(row.final), row.run_id)
            for row in chosen.values()
            if row.reason is not None
        ]
        with_tags = sorted({parts[row.file] for row in chosen.values() if row.reason is None})
        with_failures = sorted({parts[row.file] for row in chosen.values() if row.reason})
        outputs = {
            table: tuple(
                layout.TableFile(table, self.model_id, run.date, self._next, part).path
                for part in (with_failures if table == "failures" else with_tags)
            )
            for table in self._settings.tables
        }
        return Entry(
            number=self._next,
            run_id=run.run_id,
            run_date=run.date,
            committed_at=datetime.now(UTC).isoformat(timespec="microseconds"),
            writer=uuid.uuid4().hex,
            staged=tuple(Staged(f, tuple(sorted(rows)), parts[f]) for f, rows in counting.items()),
            clip_ids=tuple(row.clip_id for row in chosen.values() if row.reason is None),
            failed=tuple(failed),
            outputs={table: names for table, names in outputs.items() if names},
        )


def recover(commit_log: CommitLog, run: Run, publish: Callable[[Entry], None]) -> list[Entry]:
    """Finish what earlier runs, or other drivers, left: publish, then commit and publish.

    Parameters
    ----------
    publish : publishes an entry and returns when that is done

    Returns
    -------
    The entries that ``publish`` was called for.
    """
    entries = commit_log.refresh()
    for entry in entries:
        publish(entry)
    named, waiting = commit_log.staged_leftovers()
    commit_log.store.remove(layout.staged(commit_log.model_id, file) for file in named)
    for start in range(0, len(waiting), FILES_PER_RECOVERED_ENTRY):
        made = commit_log.commit(run, waiting[start : start + FILES_PER_RECOVERED_ENTRY])
        if made is not None:
            publish(made)
            entries.append(made)
    return entries


class _Row(NamedTuple):
    file: str
    row: int
    clip_id: str
    reason: str | None
    final: bool | None
    run_id: str


class _Keys(NamedTuple):
    """What of a staged file decides which of its rows count."""

    file: str
    n_bytes: int
    rows: tuple[_Row, ...]

    @classmethod
    def read(cls, file: str, opened: BinaryIO) -> "_Keys":
        n_bytes = opened.seek(0, 2)
        opened.seek(0)
        table = pq.ParquetFile(opened).read(FAILED.names, use_threads=False)
        columns = [table[name].to_pylist() for name in FAILED.names]
        rows = (_Row(file, i, *row) for i, row in enumerate(zip(*columns, strict=True)))
        return cls(file, n_bytes, tuple(rows))


def _parts(found: Sequence[_Keys]) -> dict[str, int]:
    """Number the part of each file: ``PART_BYTES`` at most, or one file that is larger."""
    parts: dict[str, int] = {}
    part, filled = 0, 0
    for keys in found:
        if filled and filled + keys.n_bytes > PART_BYTES:
            part, filled = part + 1, 0
        parts[keys.file] = part
        filled += keys.n_bytes
    return parts


def _in_parallel(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Apply to all, eight requests to the store at a time; results in order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(function, items))
