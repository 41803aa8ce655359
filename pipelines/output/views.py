"""``views.sql``: what analysts ask most, as views over the tables in DuckDB's dialect."""

from collections.abc import Collection
from typing import Final

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger import schema

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
        columns = ", ".join(fields.names)
        nulls = ", ".join(f"NULL::{_SQL_TYPES[str(f.type)]} AS {f.name}" for f in fields)
        source = f"SELECT {nulls} WHERE false"  # files of earlier versions lack some columns
        if table in with_files:
            files = f"'{literal}/{table}/**/*.parquet'"
            source += f"\nUNION ALL BY NAME FROM read_parquet({files}, union_by_name=true)"
        statements.append(f"CREATE OR REPLACE VIEW {table} AS\nSELECT {columns} FROM (\n{source});")
    return "\n\n".join(statements) + "\n" + _VIEWS


def write_views(store: Store) -> None:
    """Write ``views.sql`` beside the tables; nothing when it is there already."""
    with_files = [t for t in schema.tables("float32") if store.list(t)]
    data = views_sql(store.root, with_files).encode()
    if not store.exists(layout.VIEWS) or store.read(layout.VIEWS) != data:
        store.write(layout.VIEWS, data)
