"""The tables of an output as a reader finds them."""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.store import open_store

Tables = dict[str, list[dict[str, Any]]]


def read_tables(out: str) -> Tables:
    """All rows of all tables of an output; tables without files are left out."""
    store = open_store(out)
    found: Tables = {}
    for table in ("clips", "tags", "embeddings", "timeline", "failures"):
        files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(table)]
        if files:
            found[table] = pa.concat_tables(files).to_pylist()
    return found
