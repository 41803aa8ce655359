"""Published rows written anew: merged by ``compact``, less some by ``forget``, made by ``retag``.

To rewrite the entries of a set R:

1. The new table files are written outside the tables, into the rewriting folder.
2. An entry that replaces R is appended to the log. It names these files, and the table files that
   they become. With that it is decided; killed from here on, it is completed by the next command,
   like every entry that is not yet published (``swap``).
3. The old table files of ``clips`` go. Table by table the other old files go and the new ones come.
   The new files of ``clips`` come last.
4. The entry's marker is written. Then the entries of R go, their markers, and the rewriting folder.

What a reader of plain globs sees: old files are gone before new ones with the same rows come. So a
reader that lists all files and then reads them sees no row twice: if its list has an old and a new
file, the old one is gone by then, and it fails. During step 3 the clips of R are missing in
``clips``. All other clips are there, each with all of its rows.

Why rows are neither doubled nor lost, with more than one process at work:

- Number N of the new entry is fixed before its files are written, and nobody but its writer can
  have appended N (``commit_log``). So R is as it was read: no other rewrite has come between.
- Old files are removed, and new ones created, under names that are used once: a name contains the
  number of its entry. Repeating any step, however late, does nothing.
- A late *creation* would do something: a publisher of an entry of R (or of N) that has slept since
  before the entry was published could create a file again that step 3, or a later rewrite, has
  removed. It looks for the marker before each file, so it must have slept between that look and its
  write. Therefore a file is removed only when its entry has been published for ``SETTLED_S``. Until
  then it is replaced by a file of the same name without rows, which a creation cannot touch; the
  marker of N names it, and ``remove_emptied`` removes it later.
- The files in the rewriting folder have random names. One that no entry names is left over from a
  rewrite that was killed before step 2; ``recovery`` removes it, after an empty entry which makes
  sure that its writer, should it wake up, cannot append.

Damage is not copied: old files must have the hashes of their marker before rows are taken from
them, and new ones those in their names before an old file goes.
"""

import io
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import DamagedFile, digest, is_as_named, name_of, redo
from pipelines.output.log_entry import Entry, Marker, Run, Staged, now, read_entry, spans
from pipelines.output.markers import (
    AlreadyPublishedError,
    is_published,
    mark,
    place,
    read_marker,
    read_row_groups,
)
from pipelines.output.parquet_files import encode, encode_in_parts
from pipelines.output.settings import read_settings
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store
from tagger import schema

FILE_BYTES: Final = 256 << 20
"""Size of a rewritten table file, and what a rewrite holds in memory of one."""

SETTLED_S: Final = 3600.0
"""Time after which no publisher of an entry that is published can still be writing."""


def rewrite(
    commit_log: CommitLog,
    run: Run,
    sources: Sequence[Entry],
    without: pa.Array | None = None,
    made: Mapping[str, pa.Table] | None = None,
) -> Entry | None:
    """Append an entry that replaces published ones, to be published next.

    Parameters
    ----------
    sources : neighbours in the order of the log, or a single entry
    without : clip_ids whose rows are left out
    made : by name, tables that take the place of what the sources hold

    Returns
    -------
    The entry, or None when another writer was faster; the log has to be looked at again then.
    """
    store, model_id = commit_log.store, commit_log.model_id
    gone = pa.array([], pa.string()) if without is None else without
    left_out = {*gone.to_pylist()}
    entry = Entry(
        number=commit_log.next_number,
        run_id=run.run_id,
        run_date=max(source.run_date for source in sources),
        committed_at=now(),
        writer=uuid.uuid4().hex,
        staged=tuple(Staged(staged.file, (), 0) for source in sources for staged in source.staged),
        clip_ids=tuple(c for source in sources for c in source.clip_ids if c not in left_out),
        failed=tuple(f for source in sources for f in source.failed if f.clip_id not in left_out),
        outputs={},
        replaces=spans(n for source in sources for n in (source.number, *source.replaced())),
    )
    entry = _write_new(store, model_id, entry, sources, gone, made or {})
    if commit_log.append(entry):
        return entry
    store.remove(layout.rewritten(model_id, file) for file in entry.rewritten.values())
    return None


def _write_new(
    store: Store,
    model_id: str,
    entry: Entry,
    sources: Sequence[Entry],
    gone: pa.Array,
    made: Mapping[str, pa.Table],
) -> Entry:
    """Write the new table files into the rewriting folder; return the entry that names them."""
    settings = read_settings(store)
    metadata = {
        "model_id": model_id,
        "run_id": entry.run_id,
        "entry": str(entry.number),
        "committed_at": entry.committed_at,
    }
    outputs: dict[str, tuple[str, ...]] = {}
    rewritten: dict[str, str] = {}
    for table in settings.tables:
        fields = schema.tables(settings.embedding_dtype)[table]
        old = _rows(store, model_id, table, fields, sources, gone)
        rows = iter([made[table]]) if table in made else old
        paths = []
        for part, data in enumerate(encode_in_parts(rows, fields, metadata, FILE_BYTES)):
            file = name_of(data)
            store.write(layout.rewritten(model_id, file), data)
            path = layout.TableFile(table, model_id, entry.run_date, entry.number, part).path
            paths.append(path)
            rewritten[path] = file
        if paths:
            outputs[table] = tuple(paths)
    return replace(entry, outputs=outputs, rewritten=rewritten)


def _rows(
    store: Store,
    model_id: str,
    table: str,
    fields: pa.Schema,
    sources: Sequence[Entry],
    gone: pa.Array,
) -> Iterator[pa.Table]:
    """The rows of a table that stay, a row group at a time, in the order of the sources.

    Raises
    ------
    DamagedFile : a source was changed since it was published
    """
    for source in sources:
        marker = read_marker(store, model_id, source.number) or Marker({})
        for path in source.outputs.get(table, ()):
            for rows in read_row_groups(store, marker, source.number, path, fields):
                yield rows.filter(pc.invert(pc.is_in(rows["clip_id"], value_set=gone)))


def swap(store: Store, model_id: str, entry: Entry) -> None:
    """Publish an entry that replaces others: steps 3 and 4 of the head of this module."""
    try:
        if not is_published(store, model_id, entry.number):
            mark(store, model_id, entry.number, *_exchange(store, model_id, entry))
    except AlreadyPublishedError:
        pass
    except DamagedFile:
        if not is_published(store, model_id, entry.number):
            raise
    remove_entries(store, model_id, _still_listed(store, model_id, entry))
    store.remove(layout.rewritten(model_id, file) for file in entry.rewritten.values())


def remove_entries(store: Store, model_id: str, numbers: Sequence[int]) -> None:
    """Remove replaced entries, then their markers: in this order ``is_published`` relies on it."""
    store.remove(layout.entry(model_id, number) for number in numbers)
    store.remove(layout.marker(model_id, number) for number in numbers)


def remove_emptied(store: Store, model_id: str, numbers: Sequence[int]) -> int:
    """Remove files that these entries have emptied, where they are settled by now.

    Returns
    -------
    How many are left for another time.
    """
    n_left = 0
    for number in numbers:
        marker = read_marker(store, model_id, number)
        if marker is None or not marker.emptied:
            continue
        if _is_settled(marker.published_at):
            store.remove(marker.emptied)
            hashes = {p: h for p, h in marker.hashes.items() if p not in marker.emptied}
            left = replace(marker, emptied=(), hashes=hashes)
            store.write(layout.marker(model_id, number), left.to_json())
        else:
            n_left += len(marker.emptied)
    return n_left


class _OldFiles(NamedTuple):
    """Table files of replaced entries: those that may go, and those that are emptied first."""

    settled: list[str]
    young: list[str]


def _exchange(
    store: Store, model_id: str, entry: Entry
) -> tuple[dict[str, int], list[str], dict[str, str]]:
    """Take the old table files away and put the new ones in their place.

    Returns
    -------
    Rows of the entry per table, the paths of the files that were emptied, and the hashes of both.
    """
    settings = read_settings(store)
    old = _old_files(store, model_id, entry)
    for file in entry.rewritten.values():  # before anything goes
        _read_rewritten(store, model_id, entry.number, file)
    empty = {
        table: encode(fields.empty_table(), {"model_id": model_id})
        for table, fields in schema.tables(settings.embedding_dtype).items()
    }
    rows: dict[str, int] = {}
    hashes = {path: digest(empty[table]) for table, files in old.items() for path in files.young}
    _vacate(store, model_id, entry.number, old["clips"], empty["clips"])
    for table in (*(name for name in settings.tables if name != "clips"), "clips"):
        if table != "clips":
            _vacate(store, model_id, entry.number, old[table], empty[table])
        for path in entry.outputs.get(table, ()):
            data = _read_rewritten(store, model_id, entry.number, entry.rewritten[path])
            rows[table] = rows.get(table, 0) + pq.read_metadata(io.BytesIO(data)).num_rows
            hashes[path] = place(store, model_id, entry.number, path, data)
    return rows, [path for files in old.values() for path in files.young], hashes


def _read_rewritten(store: Store, model_id: str, number: int, file: str) -> bytes:
    """The bytes of a rewritten file; DamagedFile where they are gone, or others."""
    path = layout.rewritten(model_id, file)
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        problem = f"is missing, from which entry {number} is published"
        raise DamagedFile(store.root, path, problem, redo(number)) from error
    if not is_as_named(file, data):
        problem = f"was changed, from which entry {number} is published"
        raise DamagedFile(store.root, path, problem, redo(number))
    return data


def _old_files(store: Store, model_id: str, entry: Entry) -> dict[str, _OldFiles]:
    """The table files of all entries that this one replaces, by table."""

    def look_up(number: int) -> tuple[Entry, Marker | None]:
        found = read_entry(store, model_id, number)
        return found, read_marker(store, model_id, number)

    found: dict[str, _OldFiles] = defaultdict(lambda: _OldFiles([], []))
    for old, marker in in_parallel(look_up, _still_listed(store, model_id, entry)):
        paths = [path for paths in old.outputs.values() for path in paths]
        is_settled = marker is not None and _is_settled(marker.published_at or old.committed_at)
        for path in (*paths, *(marker.emptied if marker else ())):
            files = found[layout.table_of(path)]
            (files.settled if is_settled else files.young).append(path)
    return found


def _still_listed(store: Store, model_id: str, entry: Entry) -> list[int]:
    """Numbers of entries that this one replaces and that are still in the log."""
    listed = layout.LogFiles.parse(store.list(layout.log(model_id))).entries
    return sorted({*entry.replaced()} & {*listed})


def _vacate(store: Store, model_id: str, number: int, files: _OldFiles, empty: bytes) -> None:
    """Take the rows of old files of a table away; ``empty`` is such a file without rows."""
    if is_published(store, model_id, number):
        raise AlreadyPublishedError
    store.remove(files.settled)
    for path in files.young:
        store.write(path, empty)


def _is_settled(published_at: str | None) -> bool:
    if published_at is None:
        return True
    age = datetime.fromisoformat(now()) - datetime.fromisoformat(published_at)
    return age.total_seconds() > SETTLED_S
