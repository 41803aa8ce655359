"""Tables as Parquet files: one encoding for staged, published and merged rows, and its reading."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.store import Store
from tagger import schema


class UnreadableError(ValueError):
    """This is no Parquet file with the columns that were asked for, or a damaged one."""


ROW_GROUP_ROWS: Final = 1 << 16


def encode(table: pa.Table, metadata: dict[str, str]) -> bytes:
    """Encode; the same table and metadata give the same bytes."""
    buffer = io.BytesIO()
    with _writer(buffer, table.schema, metadata) as writer:
        writer.write_table(table, ROW_GROUP_ROWS)
    return buffer.getvalue()


def encode_in_parts(
    tables: Iterator[pa.Table], fields: pa.Schema, metadata: dict[str, str], part_bytes: int
) -> Iterator[bytes]:
    """Encode many tables as few files; in memory is one file at a time.

    Parameters
    ----------
    tables : the rows, in order; may be small, they are gathered into row groups
    part_bytes : size at which a file is closed, after the row group that reaches it

    Returns
    -------
    The content of each file; none when there are no rows.
    """
    groups = _row_groups(tables, fields)
    while (group := next(groups, None)) is not None:
        buffer = io.BytesIO()
        with _writer(buffer, fields, metadata) as writer:
            writer.write_table(group)
            while buffer.tell() < part_bytes and (group := next(groups, None)) is not None:
                writer.write_table(group)
        yield buffer.getvalue()


def _row_groups(tables: Iterator[pa.Table], fields: pa.Schema) -> Iterator[pa.Table]:
    """Cut and gather rows into tables of ``ROW_GROUP_ROWS``, the last one apart."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= ROW_GROUP_ROWS:
            rows = pa.concat_tables(waiting)
            whole = len(rows) - len(rows) % ROW_GROUP_ROWS
            yield from (rows[i : i + ROW_GROUP_ROWS] for i in range(0, whole, ROW_GROUP_ROWS))
            waiting = [rows[whole:]]
    rest = pa.concat_tables([fields.empty_table(), *waiting])
    if len(rest):
        yield rest


def decode(data: bytes, fields: pa.Schema | None = None, of_any_version: bool = False) -> pa.Table:
    """The rows of a Parquet file, as far as ``fields`` go; None: all columns as they are.

    Parameters
    ----------
    of_any_version : columns that files of earlier versions lack are null (``schema.conformed``)

    Raises
    ------
    UnreadableError : it is damaged, as far as that shows, or has no such columns
    """
    return _decode(io.BytesIO(data), fields, of_any_version)


def decode_with_metadata(data: bytes, fields: pa.Schema) -> tuple[pa.Table, dict[str, str]]:
    """``decode``, and what the file says of itself."""
    rows = decode(data, fields)
    told = pq.read_metadata(io.BytesIO(data)).metadata or {}
    return rows, {k.decode(): v.decode() for k, v in told.items() if not k.startswith(b"ARROW")}


def read_columns(store: Store, path: str, fields: pa.Schema) -> pa.Table:
    """Some columns of a Parquet file of which little else is read; FileNotFoundError too.

    Raises
    ------
    UnreadableError : it is damaged, as far as these columns show, or has no such columns
    """

    def read(opened: BinaryIO) -> pa.Table | UnreadableError:
        try:
            return _decode(opened, fields)
        except UnreadableError as error:  # passed on as a value: no store has failed
            return error

    found = store.scan(path, read)
    if isinstance(found, UnreadableError):
        raise found
    return found


def row_groups(data: bytes, fields: pa.Schema) -> Iterator[pa.Table]:
    """The row groups of a file of any version, in turn; UnreadableError as in ``decode``."""
    with _told(), pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            yield _as(file.read_row_group(group, use_threads=False), fields, of_any_version=True)


def is_of_another_version(data: bytes, other: bytes) -> bool:
    """Whether a file is whole, and other versions of this program or of Arrow than those of
    ``other`` have written it, which put the same rows into other bytes.
    """
    try:
        n_rows = len(decode(data))
    except UnreadableError:
        return False
    one, another = (pq.read_metadata(io.BytesIO(file)) for file in (data, other))
    return n_rows == another.num_rows and _versions(one) != _versions(another)


def _versions(file: pq.FileMetaData) -> tuple[str, bytes | None]:
    return file.created_by, (file.metadata or {}).get(b"schema_version")


def _decode(file: BinaryIO, fields: pa.Schema | None, of_any_version: bool = False) -> pa.Table:
    with _told(), pq.ParquetFile(file, page_checksum_verification=True) as opened:
        table = opened.read(fields and fields.names, use_threads=False)
        return _as(table, fields or table.schema, of_any_version)


def _as(table: pa.Table, fields: pa.Schema, of_any_version: bool) -> pa.Table:
    table.validate(full=True)
    if of_any_version:
        return schema.conformed(table, fields)
    return table.select(fields.names).cast(fields)


@contextmanager
def _told() -> Iterator[None]:
    """Have whatever Arrow finds wrong with a file told in one way."""
    try:
        yield
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # Arrow's; those of stores have more
            raise UnreadableError(_one_line(error)) from error
        raise
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UnreadableError(_one_line(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _writer(buffer: io.BytesIO, fields: pa.Schema, metadata: dict[str, str]) -> pq.ParquetWriter:
    described = {"schema_version": str(schema.SCHEMA_VERSION), **metadata}
    return pq.ParquetWriter(
        buffer,
        fields.with_metadata(described),
        compression="zstd",
        write_page_checksum=True,
        use_dictionary=[field.name for field in fields if pa.types.is_string(field.type)],
    )
