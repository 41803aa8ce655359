"""The settings of an output made anew, from the records of its runs or from its tables."""

import json
from contextlib import suppress
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, set_aside
from pipelines.output.parquet_files import UnreadableError, decode, read_columns
from pipelines.output.run_records import read_record
from pipelines.output.settings import Settings, read_settings
from pipelines.storage.store import Store
from tagger import schema
from tagger.logmel import FRONT_END


def rebuild_settings(store: Store) -> str | None:
    """Make the file of settings anew, where it is gone or damaged.

    Returns
    -------
    Where the settings come from, as the end of a sentence; None where the file is as it should be.

    Raises
    ------
    CommandError : there are no tables
    """
    try:
        read_settings(store)
    except DamagedFile:
        set_aside(store, layout.SETTINGS)
    else:
        return None
    settings, source = _of_records(store) or _of_tables(store)
    store.create(layout.SETTINGS, settings.to_json())
    return f"{source}: {json.dumps(asdict(settings))}"


def _of_records(store: Store) -> tuple[Settings, str] | None:
    """What the last run was told, since a run with other settings would have been refused."""
    for path in store.list(layout.RUNS)[::-1]:
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            told = read_record(store, path)["config"]
            names = [*schema.tables(told["embedding_dtype"])]
            tables = tuple(name for name in names if told.get(name, True))
            top_k, threshold = int(told["top_k"]), float(told["threshold"])
            dtype = told["embedding_dtype"]
            return Settings(tables, top_k, threshold, dtype, json.dumps(FRONT_END)), f"from {path}"
    return None


def _of_tables(store: Store) -> tuple[Settings, str]:
    """What can be seen of the tables; how many tags were asked for cannot."""
    optional = ("embeddings", "timeline")
    files = {table: store.list(table) for table in schema.tables("float32")}
    tables = tuple(table for table in files if files[table] or table not in optional)
    top_k, dtype = 1, "float32"
    for path in files["tags"]:
        with suppress(FileNotFoundError, UnreadableError):
            ranks = read_columns(store, path, pa.schema([("rank", pa.int32())]))["rank"]
            top_k = max(top_k, pc.max(ranks).as_py() or 0)
    for path in files["embeddings"]:
        with suppress(FileNotFoundError, UnreadableError):
            values = decode(store.read(path))["embedding"].type.value_type
            dtype = next(name for name, kind in schema.EMBEDDING_DTYPES.items() if kind == values)
            break
    settings = Settings(tables, top_k, 0.0, dtype, json.dumps(FRONT_END))
    return settings, (
        "as far as the tables tell, for no record of a run does; where the runs had another top_k "
        "or threshold, write it into the file, and leave sha256 out of it"
    )
