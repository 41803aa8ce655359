"""A log made anew from the tables, where it, or a part of it, is lost or damaged.

All that the log needs to know of an entry stands in the entry's table files: the clips in
``clips``, the failed attempts in ``failures``, the number in the names. So each number that has
table files, and no entry that can be read, gets an entry made from them, if they are all there and
agree with each other. What cannot be read, or is only a part, is moved aside, and its clips count
as new. An entry that can be read stays as it is.

What is not in the tables: names of staged files that an entry considered. Should one of them still
be there, all its rows are void, as their clips are tagged or their failures recorded. And numbers
without table files: of entries without rows, of merged ones, or of lost ones. An entry that comes
after them replaces these, so that the log has no gap.

The marker of an entry is written before the entry is: killed in between, the same is done again.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import DamagedFile, digest, set_aside
from pipelines.output.inventory import table_files
from pipelines.output.log_entry import FAILED, Entry, Failed, Marker, Run, now, read_entry, spans
from pipelines.output.markers import read_marker
from pipelines.output.parquet_files import UnreadableError, decode_with_metadata
from pipelines.output.settings import Settings, read_settings
from pipelines.output.verification import identity, not_as_logged, verify
from pipelines.storage.store import Store


@dataclass
class Rebuilt:
    """What became of the log of a model.

    Attributes
    ----------
    n_kept : entries that could be read and are as they were
    n_made : entries made from table files
    n_clips : tagged clips of those
    n_markers : markers made anew, beside entries that were kept
    notes : what could not be made from the tables, a line each
    broken : what ``verify`` finds wrong afterwards
    """

    model_id: str
    n_kept: int = 0
    n_made: int = 0
    n_clips: int = 0
    n_markers: int = 0
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def rebuild_log(store: Store, model_id: str, run: Run) -> Rebuilt:
    """Make the log of a model whole again, under its lock and with no job at work."""
    made = Rebuilt(model_id)
    settings = read_settings(store)
    log = layout.LogFiles.parse(store.list(layout.log(model_id)))
    kept = _readable(store, model_id, log, made)
    dead = {number for entry in kept.values() for number in entry.replaced()}
    files: dict[int, list[str]] = defaultdict(list)
    for path in table_files(store, model_id):
        files[layout.number_of_table(path)].append(path)
    for path in files.pop(-1, []):
        made.notes.append(f"{path}: its name is none that this program gives; it stays")
    last = max({*kept, *files, *log.entries, *log.published}, default=-1)
    for numbers in _missing(last, kept.keys(), dead, files.keys()):
        _fill(store, model_id, run, settings, numbers, files.get(numbers[-1], []), made)
    for number in kept.keys() - dead:
        _mark_anew(store, model_id, kept[number], settings, made)
    commit_log = CommitLog(store, model_id)
    made.broken = verify(store, commit_log, table_files(store, model_id), "counts").broken
    return made


def _missing(
    last: int, kept: Collection[int], dead: Collection[int], with_files: Collection[int]
) -> Iterator[list[int]]:
    """The numbers without an entry, in groups: one entry stands for each, under its last number."""
    group: list[int] = []
    for number in range(last + 1):
        if number not in kept and number not in dead:
            group.append(number)
        if group and (group[-1] in with_files or number + 1 in kept or number == last):
            yield group
            group = []


def _readable(store: Store, model_id: str, log: layout.LogFiles, made: Rebuilt) -> dict[int, Entry]:
    """The entries that can be read, by number; what else is in the log is moved aside."""
    kept: dict[int, Entry] = {}
    for path in log.foreign:
        set_aside(store, path)
        made.notes.append(f"{path} was no file of a log: it is in {layout.damaged(path)} now")
    for number in log.entries:
        try:
            kept[number] = read_entry(store, model_id, number)
        except DamagedFile as damaged:
            set_aside(store, damaged.path)
            aside = layout.damaged(damaged.path)
            made.notes.append(f"{damaged.path} could not be read: it is in {aside} now")
    made.n_kept = len(kept)
    return kept


def _fill(
    store: Store,
    model_id: str,
    run: Run,
    settings: Settings,
    numbers: Sequence[int],
    paths: Sequence[str],
    made: Rebuilt,
) -> None:
    """Make the entry of the last of these numbers, from its table files; it replaces the others."""
    number = numbers[-1]
    content = _Content.read(store, paths, settings)
    entry = content.entry(number, run, numbers[:-1])
    problems = [*content.unreadable, *not_as_logged(entry, content.rows, settings)]
    if problems:
        for path in sorted(paths, key=lambda path: layout.table_of(path) != "clips"):
            set_aside(store, path)
        made.notes.append(
            f"entry {number} cannot be made anew ({'; '.join(problems)}): its table files are in "
            f"{layout.DAMAGED} now, and the next tag does its clips again"
        )
        content = _Content.read(store, [], settings)
        entry = content.entry(number, run, numbers[:-1])
    without = [n for n in numbers if n != number or not paths]
    if without:
        named = ", ".join(
            f"{first}-{last}" if last > first else str(first) for first, last in spans(without)
        )
        made.notes.append(
            f"of entries {named} there are no table files: they had no rows, were merged, or are "
            "lost; the clips of lost ones are done again by the next tag"
        )
    store.write(layout.marker(model_id, number), content.marker().to_json())
    store.create(layout.entry(model_id, number), entry.to_json())
    made.n_made += bool(paths) and not problems
    made.n_clips += len(entry.clip_ids)


def _mark_anew(
    store: Store, model_id: str, entry: Entry, settings: Settings, made: Rebuilt
) -> None:
    """Write the marker of an entry, where it is gone or damaged and the tables are complete."""
    path = layout.marker(model_id, entry.number)
    try:
        if read_marker(store, model_id, entry.number) is not None:
            return
    except DamagedFile:
        set_aside(store, path)
        made.notes.append(f"{path} could not be read: it is in {layout.damaged(path)} now")
    outputs = [path for paths in entry.outputs.values() for path in paths]
    content = _Content.read(store, outputs, settings)
    if content.unreadable or [*not_as_logged(entry, content.rows, settings)]:
        return  # it waits to be published, or its rows are lost: tag tells
    replaced = {*entry.replaced()}
    old = [p for p in table_files(store, model_id) if layout.number_of_table(p) in replaced]
    emptied = _Content.read(store, old, settings)
    if any(map(len, emptied.rows.values())):
        return  # it was about to replace others
    store.write(path, content.marker(emptied).to_json())
    made.n_markers += 1


@dataclass
class _Content:
    """What some table files hold.

    Attributes
    ----------
    rows : by table, the columns that identify rows
    hashes : of the files, by path
    unreadable : a line for each file that cannot be read
    metadata : of one of the files
    """

    rows: dict[str, pa.Table]
    hashes: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store, paths: Iterable[str], settings: Settings) -> "_Content":
        found = cls({table: identity(table).empty_table() for table in settings.tables})
        for path in paths:
            table = layout.table_of(path)
            with suppress(FileNotFoundError):
                data = store.read(path)
                found.hashes[path] = digest(data)
                try:
                    rows, metadata = decode_with_metadata(data, identity(table))
                except UnreadableError as error:
                    found.unreadable.append(f"{path} cannot be read: {error}")
                    continue
                found.rows[table] = pa.concat_tables([found.rows[table], rows])
                found.metadata = metadata
        return found

    def entry(self, number: int, run: Run, replaced: Sequence[int]) -> Entry:
        """The entry whose table files these are."""
        files = [layout.TableFile.parse(path) for path in sorted(self.hashes)]
        outputs: dict[str, tuple[str, ...]] = {}
        for table in self.rows:
            paths = [(file.part, file.path) for file in files if file.table == table]
            if paths:
                outputs[table] = tuple(path for _, path in sorted(paths))
        failures = self.rows["failures"]
        columns = (failures[name].to_pylist() for name in FAILED.names)
        return Entry(
            number=number,
            run_id=self.metadata.get("run_id", run.run_id),
            run_date=max((file.run_date for file in files), default=run.date),
            committed_at=self.metadata.get("committed_at", now()),
            writer=uuid.uuid4().hex,
            staged=(),
            clip_ids=tuple(self.rows["clips"]["clip_id"].to_pylist()),
            failed=tuple(map(Failed._make, zip(*columns, strict=True))),
            outputs=outputs,
            replaces=spans(replaced),
        )

    def marker(self, emptied: "_Content | None" = None) -> Marker:
        """The marker of the entry whose table files these are."""
        rows = {table: len(content) for table, content in self.rows.items() if len(content)}
        gone = emptied.hashes if emptied else {}
        return Marker(rows, now(), tuple(gone), {**self.hashes, **gone})
