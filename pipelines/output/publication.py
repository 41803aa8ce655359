"""From staged rows to tables.

Publishing an entry writes, part by part, files whose names and rows follow from the entry alone,
``clips`` last, then the entry's marker, then removes the staged files. Killed anywhere, it is
repeated from the start and leaves the files that are there, so readers see whole files and no clip
twice. A publisher that comes late and finds staged files gone finds the marker too, since it is
written before any removal.

A table file is only ever created, never replaced by other rows, and each publisher looks for the
marker before each file: what ``rewriting`` does to the files of a published entry stays done.

The marker holds the hash of each file, of the bytes that this publisher has in memory.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, redo
from pipelines.output.log_entry import Entry, Staged, read_entry
from pipelines.output.markers import AlreadyPublishedError, is_published, mark, place
from pipelines.output.parquet_files import encode
from pipelines.output.rewriting import swap
from pipelines.output.settings import Settings, read_settings
from pipelines.output.staging import read_staged
from pipelines.storage.store import Store
from tagger import schema
from tagger.errors import CommandError

_CLIP_KEY: Final = ["clip_id", "uri", "version", "model_id"]


def publish(store: Store, model_id: str, entry: Entry) -> None:
    """Make the tables hold what the entry says; nothing is left to do when it returns."""
    if entry.replaces:
        swap(store, model_id, entry)
        return
    try:
        rows, hashes = _write_tables(store, model_id, entry)
        mark(store, model_id, entry.number, rows, hashes=hashes)
    except AlreadyPublishedError:
        pass
    store.remove(layout.staged(model_id, staged.file) for staged in entry.staged)


def _write_tables(
    store: Store, model_id: str, entry: Entry
) -> tuple[dict[str, int], dict[str, str]]:
    """Write all files of the entry; return rows per table, and the hash of each file by path."""
    settings = read_settings(store)
    metadata = {
        "model_id": model_id,
        "run_id": entry.run_id,
        "entry": str(entry.number),
        "committed_at": entry.committed_at,
    }
    files = [layout.TableFile.parse(path) for paths in entry.outputs.values() for path in paths]
    paths = {(file.table, file.part): file.path for file in files}
    counts = dict.fromkeys(entry.outputs, 0)
    hashes: dict[str, str] = {}
    last: list[tuple[str, bytes]] = []
    for part in sorted({staged.part for staged in entry.staged if staged.rows}):
        of_part = [s for s in entry.staged if s.part == part and s.rows]
        tables = take_apart(_read_rows(store, model_id, entry, of_part, settings), settings)
        for table, content in tables.items():
            path = paths.get((table, part))
            if path is None:
                continue
            counts[table] += content.num_rows
            data = encode(content, metadata)
            if table == "clips":
                last.append((path, data))
            else:
                hashes[path] = place(store, model_id, entry.number, path, data)
    for path, data in last:
        hashes[path] = place(store, model_id, entry.number, path, data)
    return counts, hashes


def _read_rows(
    store: Store, model_id: str, entry: Entry, staged: Sequence[Staged], settings: Settings
) -> pa.Table:
    """Read the rows that count of staged files of the entry, in its order.

    Raises
    ------
    AlreadyPublishedError : the entry is published
    CommandError : a file is gone, or was damaged since it was committed
    """
    fields = schema.staged(settings.embedding_dtype)
    tables = [fields.empty_table()]
    if is_published(store, model_id, entry.number):
        raise AlreadyPublishedError
    try:
        for file, counting, _ in staged:
            _, rows = read_staged(store, model_id, file, fields)
            tables.append(rows.take(pa.array(counting, pa.int64())))
    except (FileNotFoundError, DamagedFile, pa.ArrowIndexError) as error:
        if is_published(store, model_id, entry.number) or _is_replaced(store, model_id, entry):
            raise AlreadyPublishedError from error
        gone = f"a staged file is gone ({error})"
        problem = error.line if isinstance(error, DamagedFile) else gone
        raise CommandError(
            f"{store.root}: entry {entry.number} of {model_id} cannot be published: {problem}; "
            f"{redo(entry.number)}"
        ) from error
    return pa.concat_tables(tables).combine_chunks()


def _is_replaced(store: Store, model_id: str, entry: Entry) -> bool:
    """Whether its number is by now that of another entry, of a driver with an old view."""
    try:
        return read_entry(store, model_id, entry.number).writer != entry.writer
    except FileNotFoundError:
        return True


def take_apart(rows: pa.Table, settings: Settings) -> dict[str, pa.Table]:
    """Turn staged rows into tables, in the order of publication."""
    tagged = rows.filter(pc.is_null(rows["reason"]))
    failed = rows.filter(pc.is_valid(rows["reason"]))
    embeddings = _unnest(tagged, ["clip_id"], "embedding_rows")
    values = _single(tagged["embedding_values"]).flatten()
    vectors = pa.FixedSizeListArray.from_arrays(values, schema.EMBEDDING_SIZE)
    found = {
        "tags": _unnest(tagged, _CLIP_KEY, "tags"),
        "embeddings": embeddings.append_column("embedding", vectors),
        "timeline": _unnest(tagged, ["clip_id"], "timeline"),
        "events": _unnest(tagged, _CLIP_KEY, "events"),
        "failures": failed.append_column("attempted_at", failed["processed_at"]),
        "clips": tagged,
    }
    return {
        name: found[name].select(wanted.names).cast(wanted)
        for name, wanted in schema.tables(settings.embedding_dtype).items()
        if name in settings.tables
    }


def _unnest(rows: pa.Table, keys: list[str], column: str) -> pa.Table:
    """Give each struct of a list column its own row, with the keys of the row it came from."""
    lists = _single(rows[column])
    table = rows.select(keys).take(pc.list_parent_indices(lists))
    structs = lists.flatten()
    for field, values in zip(structs.type, structs.flatten(), strict=True):
        table = table.append_column(field.name, values)
    return table


def _single(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.combine_chunks()
    return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks
