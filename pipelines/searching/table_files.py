"""The table files of one model that count, and rows looked up in them."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

import pyarrow as pa

from pipelines.output import layout
from pipelines.searching.parquet_rows import different_values, rows_where
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store
from tagger import schema
from tagger.errors import CommandError

T = TypeVar("T")

PAUSES_S: Final = (1.0, 3.0, 9.0)
"""Waits for tables of which a file went while they were read; then they are listed again."""

_OF_SEARCH: Final = ("clips", "tags", "embeddings")


class TableFiles:
    """The files of a model's tables at one moment.

    Those of entries that are not yet published are left out, so that clips are seen whole. All rows
    of a clip come from one entry of the log, whose number is in a file's name.

    Attributes
    ----------
    entries : the numbers of the published entries
    """

    def __init__(self, store: Store, model_id: str) -> None:
        self.store = store
        self.model_id = model_id
        self.entries, self._files = _published(store, model_id)

    def paths(self, table: str, entries: Collection[int] | None = None) -> list[str]:
        """The files of a table; with ``entries`` only those of these entries of the log."""
        return [
            file.path
            for file in self._files
            if file.table == table and (entries is None or file.entry in entries)
        ]

    def rows_where(
        self,
        table: str,
        column: str,
        values: pa.Array,
        columns: Sequence[str],
        entries: Collection[int] | None = None,
    ) -> pa.Table:
        """The rows that have one of some values in a column, and in ``entry`` where they are from.

        Raises
        ------
        FileNotFoundError : a file went meanwhile
        CommandError : a file is damaged
        """
        fields = schema.tables("float32")[table]
        found = [pa.schema([fields.field(name) for name in columns]).empty_table()]
        found[0] = found[0].append_column("entry", pa.array([], pa.int64()))
        paths = self.paths(table, entries)
        read = partial(rows_where, self.store, column=column, values=values, columns=list(columns))
        for path, rows in zip(paths, in_parallel(read, paths), strict=True):
            entry = pa.scalar(layout.TableFile.parse(path).entry, pa.int64())
            found.append(rows.append_column("entry", pa.repeat(entry, len(rows))))
        return pa.concat_tables([part for part in found if len(part)] or found[:1])

    def different(self, table: str, column: str) -> list[str]:
        """The different texts in a column of a table, sorted; raises as ``rows_where``."""
        read = partial(different_values, self.store, column=column)
        return sorted(
            {value for found in in_parallel(read, self.paths(table)) for value in found.to_pylist()}
        )


def of_steady_tables(store: Store, model_id: str, read: Callable[[TableFiles], T]) -> T:
    """What ``read`` makes of a model's tables, from the start again if files go meanwhile.

    Raises
    ------
    CommandError : files keep going
    """
    for pause_s in PAUSES_S:
        try:
            return read(TableFiles(store, model_id))
        except FileNotFoundError:
            time.sleep(pause_s)
    try:
        return read(TableFiles(store, model_id))
    except FileNotFoundError as error:
        raise CommandError(
            f"{store.root}: files of the tables are gone, or being replaced by `forget` or "
            f"`compact` ({error}): ask again when these have ended; `status {store.root} --verify` "
            "names what is lost"
        ) from error


def models_with(store: Store, table: str) -> list[str]:
    """The models that have files of a table."""
    return sorted({file.model_id for file in _table_files(store.list(table))})


def _published(store: Store, model_id: str) -> tuple[list[int], list[layout.TableFile]]:
    """Published entries and all their files, listed while the log stood still."""
    folders = [layout.model_tables(table, model_id) for table in _OF_SEARCH]
    while True:
        log = store.list(layout.log(model_id))
        paths = [path for folder in folders for path in store.list(folder)]
        if log == store.list(layout.log(model_id)):
            break
    if paths and not log:
        raise CommandError(
            f"{store.root}: the log of {model_id} is gone, which says what of its tables counts: "
            f"copy or restore {layout.log(model_id)}"
        )
    published = layout.LogFiles.parse(log).published
    files = _table_files(paths)
    return sorted(published), [file for file in files if file.entry in published]


def _table_files(paths: Iterable[str]) -> Iterator[layout.TableFile]:
    """Those of some paths that are files of a table; what else somebody put there is none."""
    for path in paths:
        with suppress(ValueError):
            yield layout.TableFile.parse(path)
