"""The Parquet files of a work folder: one for each shard of its clips, each written whole."""

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.store import Store


def shard_path(folder: str, number: int) -> str:
    """The path of a shard in one of the work folder's parts."""
    return f"{folder}/part-{number:05d}.parquet"


def write_table(store: Store, path: str, table: pa.Table) -> None:
    """Write a table as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    store.write(path, sink.getvalue())


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file; of its columns those that are named, or all."""
    return pq.read_table(io.BytesIO(store.read(path)), columns=columns and list(columns))
