"""What docs/tables.md claims of other programs: they read every table as it is, float16 too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from pipelines.output.settings import Settings, open_output
from pipelines.storage.store import open_store
from tagger import schema
from tests.support.outputs import add, tables

Build = Callable[..., pa.Table]
Columns = dict[str, list[Any]]


def by_pandas(folder: Path) -> Columns:
    frame = pd.read_parquet(folder)
    return {str(name): frame[name].tolist() for name in frame}


def by_pyarrow(folder: Path) -> Columns:
    found: Columns = pyarrow.dataset.dataset(folder, partitioning="hive").to_table().to_pydict()
    return found


def by_polars(folder: Path) -> Columns:
    return pl.read_parquet(folder / "**/*.parquet").to_dict(as_series=False)


def by_duckdb(folder: Path) -> Columns:
    with duckdb.connect() as database:
        table = database.sql(f"FROM '{folder}/**/*.parquet'").to_arrow_table()
        found: Columns = table.to_pydict()
    return found


READERS = (by_pandas, by_pyarrow, by_polars, by_duckdb)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_column_of_every_table(
    read: Callable[[Path], Columns],
    dtype: str,
    tmp_path: Path,
    staged_table: Build,
    settings: Settings,
) -> None:
    store = open_store(str(tmp_path))
    open_output(store, settings)
    for clip in "ab":
        add(store, staged_table([(clip, None, "r"), (f"{clip}0", "empty", "r")], dtype=dtype))
    for name, wanted in tables(store).items():
        found = read(tmp_path / name)
        assert found.pop("model", ["m-1"] * len(wanted)) == ["m-1"] * len(wanted)
        found.pop("run_date", None)
        assert list(found) == schema.tables(dtype)[name].names
        rows = [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]
        assert _comparable(rows) == _comparable(wanted), name


def _comparable(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(repr({name: _plain(value) for name, value in row.items()}) for row in rows)


def _plain(value: Any) -> Any:
    """Times, numbers, lists and what is not there, whatever a library calls them."""
    if isinstance(value, list | np.ndarray):
        return [float(each) for each in value]
    if pd.isna(value):
        return None
    if hasattr(value, "timestamp"):
        return value.timestamp()
    return value.item() if isinstance(value, np.generic) else value
