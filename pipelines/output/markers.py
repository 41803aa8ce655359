"""Markers: the file beside an entry that says that its tables are complete."""

from collections.abc import Iterable, Mapping

from pipelines.output import layout
from pipelines.output.log_entry import Marker, now
from pipelines.storage.store import Store


class AlreadyPublishedError(Exception):
    """Another publisher was faster; its files may have been replaced since."""


def mark(
    store: Store, model_id: str, number: int, rows: Mapping[str, int], emptied: Iterable[str] = ()
) -> None:
    """Say that an entry is published, unless that is said already."""
    marker = Marker(dict(rows), now(), tuple(emptied))
    store.create(layout.marker(model_id, number), marker.to_json())


def read_marker(store: Store, model_id: str, number: int) -> Marker | None:
    """Read the marker of an entry; None where there is none."""
    try:
        return Marker.from_json(store.read(layout.marker(model_id, number)))
    except FileNotFoundError:
        return None


def is_published(store: Store, model_id: str, number: int) -> bool:
    """Whether an entry is published, or has been replaced since.

    An entry goes before its marker does, so there is no moment at which it looks unpublished.
    """
    return store.exists(layout.marker(model_id, number)) or not store.exists(
        layout.entry(model_id, number)
    )


def place(store: Store, model_id: str, number: int, path: str, data: bytes) -> None:
    """Create a table file of an entry that is not yet published.

    A file that is there stays: it is from another attempt to publish the same entry, or it has been
    emptied since.

    Raises
    ------
    AlreadyPublishedError : it is published
    """
    if is_published(store, model_id, number):
        raise AlreadyPublishedError
    if not store.exists(path):
        store.create(path, data)
