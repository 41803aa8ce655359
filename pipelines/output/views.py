"""``views.sql``: what analysts ask most, as views over the tables in DuckDB's dialect.

A view selects the columns of the schema by name, so a table whose files were written by several
versions has one shape: a column that a file lacks is null. ``pipelines.output.query`` answers
questions by the same views.
"""

import re
from collections.abc import Collection
from typing import Final

import pyarrow as pa

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger import schema

TABLES: Final = tuple(reversed(schema.tables("float32")))
"""The tables in the order of their views: ``clips`` first, which others are joined to."""

_HEAD: Final = """
-- Views over the tables, for DuckDB: duckdb -init views.sql
-- SET VARIABLE model = 'NAME';        the views of one model are of this one
-- SET VARIABLE out = '/where/it/is';  of an output that was moved: before this file is read
"""
_FILES: Final = """
-- the files of a table; letters that are magic in a pattern stand for themselves in the folder
CREATE OR REPLACE MACRO table_files(name) AS
regexp_replace(coalesce(getvariable('out'), '{out}'), '([[*?])', '[\\1]', 'g')
|| '/' || name || '/**/*.parquet';
"""
_VIEWS: Final = {
    "models": """
SELECT model_id, count(processed_at) AS n_clips, max(processed_at) AS last_tagged_at,
    max(attempted_at) AS last_failed_at
FROM (
    SELECT model_id, processed_at, NULL AS attempted_at FROM clips
    UNION ALL SELECT model_id, NULL, attempted_at FROM failures)
GROUP BY model_id""",
    # the one that the following views are of: as chosen, or the one that tagged last
    "chosen_model": """
SELECT coalesce(getvariable('model'), (
    SELECT model_id FROM models
    ORDER BY last_tagged_at DESC NULLS LAST, last_failed_at DESC NULLS LAST, model_id
    LIMIT 1)) AS model_id""",
    # of each recording the version that was tagged last
    "current_clips": """
SELECT * FROM clips WHERE model_id = (FROM chosen_model)
QUALIFY row_number() OVER (PARTITION BY uri ORDER BY processed_at DESC, clip_id) = 1""",
    "current_tags": """
SELECT tags.* FROM tags SEMI JOIN current_clips USING (clip_id, model_id)""",
    "current_timeline": """
SELECT timeline.* FROM timeline SEMI JOIN current_clips USING (clip_id, model_id)""",
    "current_events": """
SELECT events.* FROM events SEMI JOIN current_clips USING (clip_id, model_id)""",
    "current_embeddings": """
SELECT embeddings.* FROM embeddings SEMI JOIN current_clips USING (clip_id, model_id)""",
    # one row per current clip; tag is NULL where no tag reached the threshold, and 'none of these'
    # where the clip is unlike all that the model was trained on
    "top_tags": """
SELECT c.clip_id, c.uri, c.model_id,
    CASE WHEN c.none_of_these THEN 'none of these' ELSE t.tag END AS tag,
    CASE WHEN c.none_of_these THEN NULL ELSE t.mid END AS mid,
    CASE WHEN c.none_of_these THEN NULL ELSE t.score END AS score,
    t.tag AS nearest_tag, c.novelty
FROM current_clips c
LEFT JOIN tags t ON t.clip_id = c.clip_id AND t.model_id = c.model_id AND t.rank = 1""",
    # the last failure of each recording, unless it, or a later version of it, was tagged since
    "open_failures": """
SELECT * FROM failures f
WHERE model_id = (FROM chosen_model) AND NOT EXISTS (
    FROM clips c
    WHERE c.model_id = f.model_id AND c.uri = f.uri
    AND (c.clip_id = f.clip_id OR c.processed_at >= f.attempted_at))
QUALIFY row_number() OVER (PARTITION BY uri ORDER BY attempted_at DESC, clip_id) = 1""",
}
"""The views over the views of the tables, each after those that it needs."""

_SQL_TYPES: Final = {
    "string": "VARCHAR",
    "double": "DOUBLE",
    "float": "FLOAT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "bool": "BOOLEAN",
    "timestamp[us]": "TIMESTAMP",
    "timestamp[us, tz=UTC]": "TIMESTAMP WITH TIME ZONE",
}


def views_sql(root: str, with_files: Collection[str], named_in: str | None = None) -> str:
    """Return the text of ``views.sql`` in DuckDB's dialect.

    Parameters
    ----------
    root : the output as a reader names it: a folder or ``s3://`` URL
    with_files : tables that have files; DuckDB refuses a pattern that matches nothing, so the
        others become views without rows
    named_in : a question; without the views that it does not need, each of which would open all
        files of its tables. None, or one that names no view: all views
    """
    selects = {table: _table(table, table in with_files) for table in TABLES} | _VIEWS
    needed = _needed(selects, named_in) if named_in is not None else selects
    views = [
        f"CREATE OR REPLACE VIEW {name} AS{select};"
        for name, select in selects.items()
        if name in needed
    ]
    return "\n\n".join([_HEAD.strip(), _FILES.format(out=quoted(root)).strip(), *views]) + "\n"


def _needed(selects: dict[str, str], question: str) -> Collection[str]:
    """The views that a question names, and those that they are made of."""
    needed = {name for name in selects if _names(question, name)}
    for name, select in reversed(selects.items()):
        if name in needed:
            needed |= {other for other in selects if _names(select, other)}
    return needed or selects


def _names(sql: str, view: str) -> bool:
    return re.search(rf"\b{view}\b", sql, re.IGNORECASE) is not None


def quoted(text: str) -> str:
    """The text as it stands between the quotes of a literal of SQL."""
    return text.replace("'", "''")


def write_views(store: Store) -> None:
    """Write ``views.sql`` beside the tables; nothing when it is there already."""
    with_files = [t for t in TABLES if any(map(layout.is_table_file, store.list(t)))]
    data = views_sql(store.root, with_files).encode(errors="surrogateescape")  # as the folder is
    if not store.exists(layout.VIEWS) or store.read(layout.VIEWS) != data:
        store.write(layout.VIEWS, data)


def _table(name: str, has_files: bool) -> str:
    """All rows of a table, with recording and model where the table lacks them."""
    fields = list(schema.tables("float32")[name])
    columns = [field.name for field in fields]
    source = f"({_rows(name, fields, has_files)}) AS part"
    if "uri" not in columns:
        columns[1:1] = ["uri", "model_id"]
        source += "\nJOIN clips ON clips.clip_id = part.clip_id AND clips.model_id = part.model"
        columns[0] = "part.clip_id"
    return f"\nSELECT {', '.join(columns)} FROM {source}"


def _rows(name: str, fields: list[pa.Field], has_files: bool) -> str:
    """What the files hold, and a column of nulls for each that no file has."""
    columns = ", ".join(f"NULL::{_sql_type(field.type)} AS {field.name}" for field in fields)
    rows = f"\n    SELECT {columns}, NULL::VARCHAR AS model WHERE false"
    if has_files:
        rows += (
            f"\n    UNION ALL BY NAME FROM read_parquet(table_files('{name}'), union_by_name=true,"
            "\n    hive_partitioning=true, hive_types_autocast=false)"
        )
    return rows


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[str(kind)]
