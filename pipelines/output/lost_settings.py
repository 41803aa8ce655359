"""The settings of an output made anew, from the records of its runs or from its tables."""

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, set_aside
from pipelines.output.parquet_files import UnreadableError, decode, decode_with_metadata
from pipelines.output.run_records import read_record
from pipelines.output.settings import Settings, precision_kept, read_settings
from pipelines.storage.store import Store
from tagger import schema
from tagger.calibration import CARD, Threshold
from tagger.logmel import FRONT_END

_RANK: Final = pa.schema([("rank", pa.int32())])


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
    """What the first run was told: it began the output."""
    for path in store.list(layout.RUNS):
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            record = read_record(store, path)
            told = record["config"]
            settings = Settings(
                tables=tuple(
                    table
                    for table in schema.tables(told["embedding_dtype"])
                    if told.get(table, table != "events" or "event_threshold" in told)
                    or (table == "timeline" and "event_threshold" in told)
                ),
                top_k=int(told["top_k"]),
                threshold=_threshold(told["threshold"]),
                embedding_dtype=told["embedding_dtype"],
                front_end=json.dumps(FRONT_END),
                least_bags=1 if told["timeline"] or "event_threshold" not in told else 2,
                track=str(told.get("track", Settings.track)),
                event_threshold=_threshold(told.get("event_threshold", Settings.event_threshold)),
                event_gap_s=float(told.get("event_gap_s", Settings.event_gap_s)),
                precision=_precision(record),
            )
            return settings, f"from {path}"
    return None


def _precision(record: dict[str, Any]) -> str | None:
    """None where the run was of a version whose outputs keep none."""
    if "precisions" not in record or "resources" not in record["config"]:
        return None
    return precision_kept(record["config"]["resources"]["precision"])


def _threshold(told: Any) -> Threshold:
    return CARD if told == CARD else float(told)


def _of_tables(store: Store) -> tuple[Settings, str]:
    """What can be seen of the tables; how many tags were asked for cannot."""
    files = {table: store.list(table) for table in schema.tables("float32")}
    top_k, dtype, version = 1, "float32", schema.SCHEMA_VERSION
    for path in files["tags"]:
        with suppress(FileNotFoundError, UnreadableError):
            ranks, told = decode_with_metadata(store.read(path), _RANK)
            top_k = max(top_k, pc.max(ranks["rank"]).as_py() or 0)
            version = min(version, int(told.get("schema_version", version)))
    for path in files["embeddings"]:
        with suppress(FileNotFoundError, UnreadableError):
            values = decode(store.read(path))["embedding"].type.value_type
            dtype = next(name for name, kind in schema.EMBEDDING_DTYPES.items() if kind == values)
            break
    optional = {"embeddings"} if version > 1 else {"embeddings", "timeline", "events"}
    settings = Settings(
        tables=tuple(table for table in files if files[table] or table not in optional),
        top_k=top_k,
        threshold=0.0,
        embedding_dtype=dtype,
        front_end=json.dumps(FRONT_END),
        least_bags=2 if version > 1 else 1,
    )
    return settings, (
        "as far as the tables tell, for no record of a run does; where the runs had other "
        "settings, such as top_k or threshold, write them into the file, and leave sha256 out of it"
    )
