"""The log of an output: which staged rows count.

``_log/<model_id>/00000042.json`` says which rows of which staged files count. Entries are numbered
without gaps and never change. What is done is what the entries say; the tables follow from them.

Why each clip counts once, whoever is killed, whoever comes back from the dead:

- Entry N is created only where it does not exist, by a writer that has read all entries before N.
  So each entry is decided with full knowledge of the earlier ones: a clip tagged in one of them is
  not taken again. The loser of a race reads what the winner wrote and decides anew.
- Staged files are named uniquely per attempt and written whole. An entry names every file that it
  considered, also those of which no row counts, and a file once named is never considered again.
  So a file that its publisher has removed cannot be named by a later entry, however stale the
  view of the driver that had read it.
- A file is removed only after the marker of the entry that names it, or, unnamed, when the entries
  so far make every row of it void, which no later entry changes.
- A failed row is void when its clip is tagged, or when the same run has recorded a failure of it
  already (a replay of Ray's, not another attempt).

An entry may replace earlier ones (``rewriting``): when it is published, their files go. It names
the staged files that they named and holds the clips and attempts that they held, those of forgotten
recordings apart, so knowledge of it is knowledge of them. Their numbers are free then, and a driver
with an old view may create an entry under one of them. It counts for nothing: whatever number a
living entry replaces is dead. Its writer learns that, because it lists the log after it has created
the entry. The number was free only because the replacing entry was there already, and that one is
never removed before an entry is there that replaces it too. So the listing shows one of the two
(S3 lists by name, and the later one has the greater; a folder is listed in less time than it takes
to replace an entry), and the writer decides anew with its content. Everybody else leaves dead
entries out, and publishes none of them.

A row of a forgotten recording is void. ``forget`` first writes its tombstones, then appends an
empty entry to each log (to one that does not exist yet, when a job has the model's lock). A driver
that does not know the tombstones has not read that entry; it loses the race for its number, reads
the tombstones, and decides anew. What it committed before, ``forget`` finds when it reads the log.
"""

import logging
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, rebuild, set_aside
from pipelines.output.forgotten import Forgotten
from pipelines.output.log_entry import FAILED, Entry, Known, Run, read_entry
from pipelines.output.settings import read_settings
from pipelines.output.staging import StagedFile, StagedRow, entry_of, look_into
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store

_log = logging.getLogger(__name__)

_MOST_LISTINGS: Final = 4
"""A log that is being compacted may look torn in one listing, not in several."""


class CommitLog:
    """What a driver knows of the log of one model; grows as entries are made or met.

    Holds an Arrow array of clip_ids (36 bytes per clip) and names of files, not the entries.

    Attributes
    ----------
    forgotten : recordings that may not be committed
    replaced_files : numbers of replaced entries of which files are still in the log
    set_aside : names of staged files that were found damaged, and were moved out of the way
    """

    def __init__(self, store: Store, model_id: str) -> None:
        self.store = store
        self.model_id = model_id
        self._settings = read_settings(store)
        self._known: dict[int, Known] = {}
        self._dead: set[int] = set()
        self._named: set[str] = set()
        self._unpublished: set[int] = set()
        self.set_aside: set[str] = set()
        self.forgotten = Forgotten.read(store)
        self.refresh()

    @property
    def n_entries(self) -> int:
        """How many entries count."""
        return len(self._known)

    @property
    def next_number(self) -> int:
        """The number of the next entry."""
        return max(self._known, default=-1) + 1

    def __contains__(self, number: int) -> bool:
        """Whether an entry is there and counts."""
        return number in self._known

    def numbers(self) -> list[int]:
        """The numbers of the entries that count, in the order of what they stand for."""
        return sorted(self._known, key=lambda number: self._known[number].first)

    def tagged(self) -> pa.ChunkedArray:
        """Return the clip_ids that are in ``clips`` or will be: string, no duplicates."""
        return pa.chunked_array([self._known[n].tagged for n in self.numbers()], pa.string())

    def failed(self) -> pa.Table:
        """Return the last attempt of each clip that failed and was not tagged (``FAILED``)."""
        failed = [self._known[number].failed for number in self.numbers()]
        attempts = pa.concat_tables([FAILED.empty_table(), *failed])
        open_ones = attempts.filter(
            pc.invert(pc.is_in(attempts["clip_id"], value_set=self.tagged().combine_chunks()))
        )
        last = open_ones.group_by("clip_id", use_threads=False).aggregate(
            [(name, "last") for name in FAILED.names[1:]]
        )
        return last.rename_columns(FAILED.names)

    def published_files(self) -> set[str]:
        """The paths of all table files that must be there: those of published entries."""
        published = self._known.keys() - self._unpublished
        return {path for number in published for path in self._known[number].outputs}

    def refresh(self) -> list[Entry]:
        """Read what is new in the log; return the entries that count and are not yet published.

        Raises
        ------
        DamagedFile : an entry is missing, changed or malformed, or a file does not belong there
        """
        for _ in range(_MOST_LISTINGS):
            files = layout.LogFiles.parse(self.store.list(layout.log(self.model_id)))
            if files.foreign:
                path, mend = files.foreign[0], "move it somewhere else"
                raise DamagedFile(self.store.root, path, "is no file of a log", mend)
            wanted = [
                number
                for number in files.entries
                if number not in self._dead
                and (number not in self._known or number not in files.published)
            ]
            read = in_parallel(self._entry_if_there, wanted)
            found = [entry for entry in read if entry is not None]
            for entry in reversed(found):
                self._absorb(entry)
            if len(found) == len(read) and self._is_whole(files.entries):
                self.forgotten = Forgotten.read(self.store, self.forgotten)
                self.replaced_files = self._dead & {*files.entries, *files.published}
                unpublished = [
                    entry
                    for entry in found
                    if entry.number in self._known and entry.number not in files.published
                ]
                self._unpublished = {entry.number for entry in unpublished}
                return unpublished
        there = self._dead | {*files.entries}
        absent = next((n for n in range(self.next_number) if n not in there), 0)
        path = layout.entry(self.model_id, absent)
        raise DamagedFile(self.store.root, path, "is missing", rebuild(self.store))

    def entry(self, number: int) -> Entry:
        """Read an entry from the log; FileNotFoundError and DamagedFile too."""
        return read_entry(self.store, self.model_id, number)

    def append(self, entry: Entry) -> bool:
        """Put an entry, decided with all that is known so far, into the log.

        Returns
        -------
        Whether it counts. If not, another writer was there first, and what it wrote is known now.
        """
        path = layout.entry(self.model_id, entry.number)
        created = self.store.create(path, entry.to_json())
        self.refresh()
        return created and entry.number in self._known

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
        found, damaged = look_into(self.store, self.model_id, fresh)
        if damaged:
            self._set_aside(damaged)
        while True:
            found = [file for file in found if file.name not in self._named]
            chosen = self._choose(found)
            if not chosen:
                self.store.remove(layout.staged(self.model_id, file.name) for file in found)
                return None
            entry = self._next_entry(run, found, chosen)
            if self.append(entry):
                return entry

    def fence(self, run: Run) -> Entry:
        """Append an empty entry: whoever has an older view cannot append before it reads anew."""
        while True:
            entry = self._next_entry(run, (), {})
            if self.append(entry):
                return entry

    def staged_leftovers(self) -> tuple[list[str], list[str]]:
        """List the staging folder: files that an entry names, and files that wait for one."""
        paths = self.store.list(layout.staging(self.model_id))
        files = [path.rsplit("/", 1)[1] for path in paths if path.endswith(".parquet")]
        return (
            [file for file in files if file in self._named],
            [file for file in files if file not in self._named],
        )

    def _set_aside(self, damaged: Sequence[DamagedFile]) -> None:
        """Move staged files out of the way, unless an entry names them that was made meanwhile."""
        self.refresh()
        for file in damaged:
            name = file.path.rpartition("/")[2]
            if name not in self._named:
                set_aside(self.store, file.path)
                self.set_aside.add(name)
                _log.warning(
                    "%s: it is in %s now, and its clips are done again",
                    file.line,
                    layout.damaged(file.path),
                )

    def _entry_if_there(self, number: int) -> Entry | None:
        try:
            return self.entry(number)
        except FileNotFoundError:  # replaced, and removed since it was listed
            return None

    def _absorb(self, entry: Entry) -> None:
        """Take in an entry; of several the latest first, for it may replace the others."""
        if entry.number in self._known or entry.number in self._dead:
            return
        self._known[entry.number] = Known.of(entry)
        self._named.update(staged.file for staged in entry.staged)
        for number in entry.replaced():
            self._known.pop(number, None)
            self._dead.add(number)

    def _is_whole(self, listed: Sequence[int]) -> bool:
        """Whether each number is listed, or replaced by an entry that is."""
        n_numbers = len(self._known) + len(self._dead)
        return n_numbers == self.next_number and self._known.keys() <= {*listed}

    def _is_forgotten(self, row: StagedRow) -> bool:
        return row.uri in self.forgotten or row.recording in self.forgotten

    def _choose(self, found: Sequence[StagedFile]) -> dict[str, StagedRow]:
        """Choose the rows that count, by clip_id."""
        rows = [row for file in found for row in file.rows if not self._is_forgotten(row)]
        ids = pa.array([row.clip_id for row in rows], pa.string())
        tagged = {
            clip_id
            for known in self._known.values()
            for clip_id in known.tagged.filter(pc.is_in(known.tagged, value_set=ids)).to_pylist()
        }
        tried = {
            (attempt["clip_id"], attempt["run_id"])
            for known in self._known.values()
            for attempt in known.failed.filter(
                pc.is_in(known.failed["clip_id"], value_set=ids)
            ).to_pylist()
        }
        chosen: dict[str, StagedRow] = {}
        for row in rows:
            if row.clip_id in tagged:
                continue
            if row.reason is not None and (row.clip_id, row.run_id) in tried:
                continue
            before = chosen.get(row.clip_id)
            if before is None or (before.reason is not None and row.reason is None):
                chosen[row.clip_id] = row
        return chosen

    def _next_entry(
        self, run: Run, found: Sequence[StagedFile], chosen: dict[str, StagedRow]
    ) -> Entry:
        tables = self._settings.tables
        return entry_of(self.next_number, self.model_id, run, found, [*chosen.values()], tables)
