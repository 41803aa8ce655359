"""Table files opened, and rows looked up in them, with the errors that people can act on."""

from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.storage.errors import one_line
from pipelines.storage.store import Store
from tagger.errors import CommandError

T = TypeVar("T")


def read_parquet(store: Store, path: str, reader: Callable[[pq.ParquetFile], T]) -> T:
    """Apply ``reader`` to a table file; it may run more than once.

    Raises
    ------
    FileNotFoundError : it is not there, or not any more
    CommandError : it is damaged
    """

    def read(opened: BinaryIO) -> T:
        try:
            with pq.ParquetFile(opened) as file:
                return reader(file)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and not _of_arrow(error):
                raise
            raise CommandError(
                f"{store.root}/{path} cannot be read ({one_line(error)}): `status "
                f"{store.root} --verify` names all that is damaged"
            ) from error

    return store.scan(path, read)


def rows_where(
    store: Store, path: str, column: str, values: pa.Array, columns: Sequence[str]
) -> pa.Table:
    """The rows of a table file that have one of some values in a column.

    Other columns are read only of row groups in which there are such rows.
    """

    def read(file: pq.ParquetFile) -> pa.Table:
        found = [file.schema_arrow.empty_table().select(columns)]
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, [column], use_threads=False)[column]
            wanted = pc.is_in(keys, value_set=values)
            if pc.any(wanted).as_py():
                rows = file.read_row_group(group, columns, use_threads=False)
                found.append(rows.select(columns).filter(wanted))
        return pa.concat_tables(found).replace_schema_metadata()

    return read_parquet(store, path, read)


def different_values(store: Store, path: str, column: str) -> pa.Array:
    """The different values that a table file has in a column."""

    def read(file: pq.ParquetFile) -> pa.Array:
        return file.read([column], use_threads=False)[column].unique()

    return read_parquet(store, path, read)


def _of_arrow(error: OSError) -> bool:
    """Whether Arrow says so of what it has read, and not the system of reading it."""
    return type(error) is OSError and error.errno is None
