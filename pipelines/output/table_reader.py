"""The table files of an output as a file system that DuckDB reads from, and can do nothing else on.

DuckDB has files of an S3 store through an extension only, which it downloads, and takes letters of
a folder's name for a pattern. So it is given names that begin with ``output://``, wherever the
output lies, and reads through the store, which repeats requests and tells who refused them.
"""

import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from fsspec import AbstractFileSystem

from pipelines.output import layout
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.store import Store

ROOT: Final = "output://tables"

_ALWAYS: Final = datetime(2026, 1, 1, tzinfo=UTC)


class TableReader(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A store's table files, as they are when this is made; read-only.

    Attributes
    ----------
    store : of the output
    files : by table, the paths of its files
    failure : the first error of the store, of which DuckDB keeps but the text
    """

    protocol = "output"
    cachable = False

    def __init__(self, store: Store, tables: Iterable[str]) -> None:
        super().__init__()
        self.store = store
        self.files = {t: [*filter(layout.is_table_file, store.list(t))] for t in tables}
        self._sizes: dict[str, int] = {}
        self.failure: OSError | AccessDenied | StoreUnavailable | None = None

    def glob(self, path: str, **more: Any) -> list[str]:
        """The files of a table, whatever the pattern below its folder."""
        table = path.removeprefix(f"{ROOT}/").partition("/")[0]
        return [f"{ROOT}/{file}" for file in self.files.get(table, ())]

    def open(self, path: str, mode: str = "rb", **more: Any) -> "_File":
        name = path.removeprefix(f"{ROOT}/")
        if mode != "rb" or name not in self.files.get(layout.table_of(name), ()):
            raise PermissionError(f"{path}: nothing but the tables can be read here")
        return _File(self, name)

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        name = path.removeprefix(f"{ROOT}/")
        if name not in self._sizes:
            self._sizes[name] = self._of_store(self.store.scan, name, _length)
        return {"name": path, "size": self._sizes[name], "type": "file"}

    def modified(self, path: str) -> datetime:
        """Table files are never changed."""
        return _ALWAYS

    def range(self, path: str, start: int, end: int) -> bytes:
        """Bytes of a file."""
        data: bytes = self._of_store(self.store.read_range, path, start, end)
        return data

    def _of_store(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return operation(*arguments)
        except (OSError, AccessDenied, StoreUnavailable) as error:
            self.failure = self.failure or error
            raise


def _length(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


class _Place(threading.local):
    """Where to read next: each thread's own, since DuckDB has many threads seek in one file."""

    offset = 0


class _File:
    """One file that is being read."""

    def __init__(self, reader: TableReader, path: str) -> None:
        self._reader, self._path, self._place = reader, path, _Place()

    def seek(self, offset: int) -> int:
        self._place.offset = offset
        return offset

    def tell(self) -> int:
        return self._place.offset

    def read(self, n: int) -> bytes:
        start = self._place.offset
        data = self._reader.range(self._path, start, start + n)
        self._place.offset += len(data)
        return data

    def close(self) -> None:
        pass
