"""Folders that are no output, such as one with a page or with label files, left as people want."""

from contextlib import suppress
from pathlib import Path

from pipelines.storage.store import TEMPORARY, LocalStore, Store


def tidy(store: Store) -> None:
    """Remove the folder of temporary files, which only an output has a use for, if it is empty."""
    if isinstance(store, LocalStore):
        with suppress(OSError):  # it is not empty: another job is at work there
            Path(store.root, TEMPORARY).rmdir()
