"""Tables as Parquet files: one encoding for staged, published and merged rows."""

import io
from collections.abc import Iterator
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tagger import schema

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


def _writer(buffer: io.BytesIO, fields: pa.Schema, metadata: dict[str, str]) -> pq.ParquetWriter:
    described = {"schema_version": str(schema.SCHEMA_VERSION), **metadata}
    return pq.ParquetWriter(
        buffer,
        fields.with_metadata(described),
        compression="zstd",
        use_dictionary=[field.name for field in fields if pa.types.is_string(field.type)],
    )
