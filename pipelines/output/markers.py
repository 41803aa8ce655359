"""Markers: the file beside an entry that says that its tables are complete."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, digest, reading, rebuild, redo
from pipelines.output.log_entry import Marker, now
from pipelines.output.parquet_files import UnreadableError, is_of_another_version, row_groups
from pipelines.storage.store import Store


class AlreadyPublishedError(Exception):
    """Another publisher was faster; its files may have been replaced since."""


def mark(
    store: Store,
    model_id: str,
    number: int,
    rows: Mapping[str, int],
    emptied: Iterable[str] = (),
    hashes: Mapping[str, str] | None = None,
) -> None:
    """Say that an entry is published, unless that is said already."""
    marker = Marker(dict(rows), now(), tuple(emptied), dict(hashes or {}))
    store.create(layout.marker(model_id, number), marker.to_json())


def read_marker(store: Store, model_id: str, number: int) -> Marker | None:
    """Read the marker of an entry; None where there is none, DamagedFile where it says nothing."""
    path = layout.marker(model_id, number)
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    with reading(store, path, "marker of an entry", rebuild(store)):
        return Marker.from_json(data)


def is_published(store: Store, model_id: str, number: int) -> bool:
    """Whether an entry is published, or has been replaced since.

    An entry goes before its marker does, so there is no moment at which it looks unpublished.
    """
    return store.exists(layout.marker(model_id, number)) or not store.exists(
        layout.entry(model_id, number)
    )


def read_published(
    store: Store, marker: Marker, number: int, path: str, fields: pa.Schema
) -> pa.Table:
    """Some columns of a table file of a published entry.

    Raises
    ------
    DamagedFile : it is gone, or its bytes are not those that were published
    """
    return pa.concat_tables(
        [fields.empty_table(), *read_row_groups(store, marker, number, path, fields)]
    )


def read_row_groups(
    store: Store, marker: Marker, number: int, path: str, fields: pa.Schema
) -> Iterator[pa.Table]:
    """``read_published`` in parts; nothing is given of a file whose hash is another."""
    try:
        data = store.read(path)
    except FileNotFoundError as error:
        raise DamagedFile(store.root, path, "is missing", redo(number)) from error
    if marker.hashes.get(path) not in (None, digest(data)):
        raise DamagedFile(store.root, path, "was changed since it was published", redo(number))
    try:
        yield from row_groups(data, fields)
    except UnreadableError as error:
        problem = f"cannot be read ({error})"
        raise DamagedFile(store.root, path, problem, redo(number)) from error


def place(store: Store, model_id: str, number: int, path: str, data: bytes) -> str:
    """Create a table file of an entry that is not yet published; return the file's hash.

    A file that is there stays: it is from another attempt to publish the same entry, or it has been
    emptied since.

    Raises
    ------
    AlreadyPublishedError : it is published
    DamagedFile : the file is there, and was changed
    """
    if is_published(store, model_id, number):
        raise AlreadyPublishedError
    if not store.exists(path) and store.create(path, data):
        return digest(data)
    try:
        there = store.read(path)
    except FileNotFoundError:
        there = b""
    if there == data:
        return digest(data)
    if is_published(store, model_id, number):
        raise AlreadyPublishedError
    if is_of_another_version(there, data):
        return digest(there)
    mend = "remove it and start the same command again, which writes it anew"
    raise DamagedFile(store.root, path, "was changed while it was being published", mend)
