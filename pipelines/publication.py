"""From staged rows to tables (design 4, "Stage" and "Publish").

Publishing an entry writes, part by part, files whose names and bytes follow from the entry alone,
``clips`` last, then the entry's marker, then removes the staged files. Killed anywhere, it is
repeated from the start and replaces each file by the same bytes, so readers see whole files and no
clip twice. A publisher that comes late and finds staged files gone finds the marker too, since it
is written before any removal.
"""

import io
import json
import uuid
from collections.abc import Collection, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.entry import Entry, Staged, marker_path, staging_path
from pipelines.output import Settings, read_settings
from pipelines.store import Store
from tagger import schema
from tagger.errors import CommandError

_CLIP_KEY: Final = ["clip_id", "uri", "version", "model_id"]
_ROW_GROUP_ROWS: Final = 1 << 16
_SQL_TYPES: Final = {
    "string": "VARCHAR",
    "double": "DOUBLE",
    "float": "FLOAT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "bool": "BOOLEAN",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}
_VIEWS: Final = """
-- of each recording and model the version that was tagged last
CREATE OR REPLACE VIEW current_clips AS
SELECT * FROM clips
QUALIFY row_number() OVER (
    PARTITION BY uri, model_id ORDER BY processed_at DESC, clip_id) = 1;

CREATE OR REPLACE VIEW current_tags AS
SELECT tags.* FROM tags SEMI JOIN current_clips USING (clip_id, model_id);

-- one row per current clip; tag is NULL where no tag reached the threshold
CREATE OR REPLACE VIEW top_tags AS
SELECT c.clip_id, c.uri, c.model_id, t.tag, t.mid, t.score
FROM current_clips c
LEFT JOIN tags t ON t.clip_id = c.clip_id AND t.model_id = c.model_id AND t.rank = 1;

-- the last failure of each recording, unless it, or a later version of it, was tagged since
CREATE OR REPLACE VIEW open_failures AS
SELECT * FROM failures f
WHERE NOT EXISTS (
    FROM clips c
    WHERE c.model_id = f.model_id AND c.uri = f.uri
    AND (c.clip_id = f.clip_id OR c.processed_at >= f.attempted_at))
QUALIFY row_number() OVER (
    PARTITION BY uri, model_id ORDER BY attempted_at DESC, clip_id) = 1;
"""


def stage(table: pa.Table, store: Store, model_id: str) -> str:
    """Write one staged file, under a name that no other attempt uses; return the name.

    Parameters
    ----------
    table : one row per clip, ``schema.staged``; all rows of one run
    """
    file = f"{uuid.uuid4().hex}.parquet"
    store.write(staging_path(model_id, file), _parquet(table, {}))
    return file


def publish(store: Store, model_id: str, entry: Entry) -> None:
    """Write the entry's part of the tables; nothing is left to do when it returns."""
    marker = marker_path(model_id, entry.number)
    if not _exists(store, marker):
        try:
            rows = _write_tables(store, model_id, entry)
        except FileNotFoundError as error:
            if not _exists(store, marker):  # else another publisher was faster
                raise CommandError(
                    f"{store.root}: a staged file of entry {entry.number}, which is not yet "
                    f"published, is gone: restore it, or give another output ({error})"
                ) from error
        else:
            store.write(marker, json.dumps({"rows": rows}).encode())
    store.remove(staging_path(model_id, staged.file) for staged in entry.staged)


def published_rows(store: Store, model_id: str, number: int) -> dict[str, int] | None:
    """Read from an entry's marker how many rows each table has of it; None: not published."""
    try:
        marker: dict[str, dict[str, int]] = json.loads(store.read(marker_path(model_id, number)))
    except FileNotFoundError:
        return None
    return marker["rows"]


def views_sql(root: str, with_files: Collection[str]) -> str:
    """Return the text of ``views.sql`` in DuckDB's dialect.

    Parameters
    ----------
    root : the output as a reader names it: a folder or ``s3://`` URL
    with_files : tables that have files; DuckDB refuses a glob that matches nothing, so the others
        become views without rows
    """
    literal = "".join(f"[{c}]" if c in "[*?" else c for c in root).replace("'", "''")
    statements = ["-- Views over the tables, for DuckDB: duckdb -init views.sql"]
    for table in ("clips", "tags", "failures"):
        fields = schema.tables("float32")[table]
        if table in with_files:
            columns = ", ".join(fields.names)
            source = f"FROM read_parquet('{literal}/{table}/**/*.parquet', union_by_name=true)"
        else:
            columns = ", ".join(f"NULL::{_SQL_TYPES[str(f.type)]} AS {f.name}" for f in fields)
            source = "WHERE false"
        statements.append(f"CREATE OR REPLACE VIEW {table} AS\nSELECT {columns}\n{source};")
    return "\n\n".join(statements) + "\n" + _VIEWS


def write_views(store: Store) -> None:
    """Write ``views.sql`` beside the tables; nothing when it is there already."""
    with_files = [t for t in schema.tables("float32") if store.list(t)]
    data = views_sql(store.root, with_files).encode()
    if not _exists(store, "views.sql") or store.read("views.sql") != data:
        store.write("views.sql", data)


def _write_tables(store: Store, model_id: str, entry: Entry) -> dict[str, int]:
    """Write all files of the entry; return rows per table."""
    settings = read_settings(store)
    metadata = {
        "model_id": model_id,
        "run_id": entry.run_id,
        "entry": str(entry.number),
        "committed_at": entry.committed_at,
    }
    names = {name for names in entry.outputs.values() for name in names}
    counts = dict.fromkeys(entry.outputs, 0)
    last: list[tuple[str, bytes]] = []
    for part in sorted({staged.part for staged in entry.staged if staged.take}):
        of_part = [s for s in entry.staged if s.part == part and s.take]
        tables = _take_apart(_read_rows(store, model_id, of_part, settings), settings)
        for table, content in tables.items():
            folder = f"{table}/model={model_id}/run_date={entry.run_date}"
            path = f"{folder}/{entry.number:08d}-{part}.parquet"
            if path not in names:
                continue
            counts[table] += content.num_rows
            if table == "clips":
                last.append((path, _parquet(content, metadata)))
            else:
                store.write(path, _parquet(content, metadata))
    for path, data in last:
        store.write(path, data)
    return counts


def _read_rows(
    store: Store, model_id: str, staged: Sequence[Staged], settings: Settings
) -> pa.Table:
    """Read the rows that count, in the order of the entry."""
    tables = [schema.staged(settings.embedding_dtype).empty_table()]
    for file, take, _ in staged:
        data = store.read(staging_path(model_id, file))
        tables.append(pq.read_table(io.BytesIO(data)).take(pa.array(take, pa.int64())))
    return pa.concat_tables(tables).combine_chunks()


def _take_apart(rows: pa.Table, settings: Settings) -> dict[str, pa.Table]:
    """Turn staged rows into tables, in the order of publication."""
    tagged = rows.filter(pc.is_null(rows["reason"]))
    failed = rows.filter(pc.is_valid(rows["reason"]))
    embeddings = _unnest(tagged, ["clip_id"], "embedding_rows")
    values = _single(tagged["embedding_values"]).flatten()
    vectors = pa.FixedSizeListArray.from_arrays(values, schema.EMBEDDING_SIZE)
    found = {
        "tags": _unnest(tagged, _CLIP_KEY, "tags"),
        "embeddings": embeddings.append_column("embedding", vectors),
        "timeline": _unnest(tagged, ["clip_id"], "timeline"),
        "failures": failed.append_column("attempted_at", failed["processed_at"]),
        "clips": tagged,
    }
    return {
        name: found[name].select(wanted.names).cast(wanted)
        for name, wanted in schema.tables(settings.embedding_dtype).items()
        if name in settings.tables
    }


def _unnest(rows: pa.Table, keys: list[str], column: str) -> pa.Table:
    """Give each struct of a list column its own row, with the keys of the row it came from."""
    lists = _single(rows[column])
    table = rows.select(keys).take(pc.list_parent_indices(lists))
    structs = lists.flatten()
    for field, values in zip(structs.type, structs.flatten(), strict=True):
        table = table.append_column(field.name, values)
    return table


def _single(column: pa.ChunkedArray) -> pa.Array:
    chunks = column.combine_chunks()
    return chunks.combine_chunks() if isinstance(chunks, pa.ChunkedArray) else chunks


def _parquet(table: pa.Table, metadata: dict[str, str]) -> bytes:
    """Encode; the same table and metadata give the same bytes."""
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    described = {"schema_version": str(schema.SCHEMA_VERSION), **metadata}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(described),
        buffer,
        compression="zstd",
        use_dictionary=texts,
        row_group_size=_ROW_GROUP_ROWS,
    )
    return buffer.getvalue()


def _exists(store: Store, path: str) -> bool:
    try:
        store.read(path)
    except FileNotFoundError:
        return False
    return True
