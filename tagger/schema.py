"""The tables, each column named and typed in one place.

Conventions: ``*_s`` seconds in the original recording, ``*_hz`` hertz, ``*_bytes`` bytes; times of
day are UTC with microseconds; identifiers are lower-case hexadecimal text. Plain Arrow types only,
so that DuckDB, pandas, polars, Spark and Athena read every column as it is; but Spark and Athena
know no float16.

A clip that was worked on is first one row of ``staged``: everything about it in one place, its
tags, embeddings and timeline as nested columns, or its failure. Publication divides such rows among
the tables. A change here raises ``SCHEMA_VERSION`` and is told in the CHANGELOG; files of earlier
versions stay as they are, and ``conformed`` reads them.

    1  the first
    2  ``notes`` and ``recorded_at`` in clips and staged rows; ``max_score`` and ``heard_s`` of
       tags; ``events``
    3  ``novelty`` and ``none_of_these`` in clips and staged rows
"""

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 3
EMBEDDING_SIZE: Final = 128
NONE_OF_THESE: Final = "none of these"  # what is said of a clip beyond its model's limit of novelty
EMBEDDING_DTYPES: Final = {"float32": pa.float32(), "float16": pa.float16()}

TIMESTAMP: Final = pa.timestamp("us", tz="UTC")

_CLIP_KEY = [
    pa.field("clip_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("version", pa.string(), nullable=False),
    pa.field("model_id", pa.string(), nullable=False),
]

_SIGNAL = [
    pa.field("duration_s", pa.float64()),
    pa.field("sample_rate_hz", pa.int32()),
    pa.field("channels", pa.int32()),
    pa.field("content_start_s", pa.float64()),
    pa.field("content_end_s", pa.float64()),
    pa.field("peak", pa.float32()),
    pa.field("n_segments", pa.int32()),
    pa.field("damage", pa.string()),  # what of the recording could not be decoded; null: nothing
    pa.field("notes", pa.string()),  # what readers of the tags should know; null: nothing
    pa.field("recorded_at", pa.timestamp("us")),  # by name or header, in whatever zone
]

_NOVELTY = [
    pa.field("novelty", pa.float32()),  # in [0, 1]; null: the model tells none
    pa.field("none_of_these", pa.bool_()),  # novelty beyond the model's limit; likewise null
]

_TAG = [
    pa.field("rank", pa.int32()),
    pa.field("tag", pa.string()),
    pa.field("mid", pa.string()),
    pa.field("score", pa.float32()),
    pa.field("max_score", pa.float32()),  # of the best bag
    pa.field("heard_s", pa.float64()),  # seconds of the bags that reach the threshold of events
]

_TIMELINE = [
    pa.field("bag", pa.int32()),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("tag", pa.string()),
    pa.field("score", pa.float32()),
    pa.field("attention", pa.list_(pa.float32())),
]

_EVENT = [
    pa.field("tag", pa.string()),
    pa.field("mid", pa.string()),
    pa.field("start_s", pa.float64()),
    pa.field("end_s", pa.float64()),
    pa.field("peak_score", pa.float32()),
    pa.field("mean_score", pa.float32()),
]

_FAILURE = [
    pa.field("stage", pa.string()),
    pa.field("reason", pa.string()),
    pa.field("detail", pa.string()),
    pa.field("final", pa.bool_()),
]


def _embedding(dtype: str) -> list[pa.Field]:
    return [
        pa.field("extractor", pa.string()),
        pa.field("segment", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("embedding", pa.list_(EMBEDDING_DTYPES[dtype], EMBEDDING_SIZE)),
    ]


LISTING: Final = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("extra", pa.string()),  # further manifest columns as JSON
        pa.field(
            "problem", pa.string()
        ),  # "reason: detail" where listing saw that it is unreadable
    ]
)
"""One row per clip to work on: what listing finds, and what the workers are given."""


def staged(embedding_dtype: str) -> pa.Schema:
    """The schema of staged rows, one per clip that was worked on; ``reason`` is null when tagged.

    ``embedding_rows`` nests the columns of the ``embeddings`` table, with the vectors of all rows
    laid end to end in ``embedding_values`` (nested fixed-size lists do not survive every Parquet
    reader).

    Parameters
    ----------
    embedding_dtype : a key of ``EMBEDDING_DTYPES``
    """
    rows = _embedding(embedding_dtype)[:-1]
    return pa.schema(
        [
            *_CLIP_KEY,
            pa.field("size_bytes", pa.int64()),
            *_SIGNAL,
            *_NOVELTY,
            pa.field("extra", pa.string()),
            pa.field("processed_at", TIMESTAMP),
            pa.field("run_id", pa.string()),
            *_FAILURE,
            pa.field("tags", pa.list_(pa.struct(_TAG))),
            pa.field("timeline", pa.list_(pa.struct(_TIMELINE))),
            pa.field("events", pa.list_(pa.struct(_EVENT))),
            pa.field("embedding_rows", pa.list_(pa.struct(rows))),
            pa.field("embedding_values", pa.list_(EMBEDDING_DTYPES[embedding_dtype])),
        ]
    )


def tables(embedding_dtype: str) -> dict[str, pa.Schema]:
    """The schemas of the published tables by name, in the order of publication: ``clips`` last.

    Parameters
    ----------
    embedding_dtype : a key of ``EMBEDDING_DTYPES``
    """
    clip_id = _CLIP_KEY[0]
    return {
        "tags": pa.schema([*_CLIP_KEY, *_TAG]),
        "embeddings": pa.schema([clip_id, *_embedding(embedding_dtype)]),
        "timeline": pa.schema([clip_id, *_TIMELINE]),
        "events": pa.schema([*_CLIP_KEY, *_EVENT]),
        "failures": pa.schema(
            [
                *_CLIP_KEY,
                *_FAILURE,
                pa.field("attempted_at", TIMESTAMP),
                pa.field("run_id", pa.string()),
            ]
        ),
        "clips": pa.schema(
            [
                *_CLIP_KEY,
                pa.field("size_bytes", pa.int64()),
                *_SIGNAL,
                *_NOVELTY,
                pa.field("extra", pa.string()),
                pa.field("processed_at", TIMESTAMP),
                pa.field("run_id", pa.string()),
            ]
        ),
    }


def conformed(rows: pa.Table, fields: pa.Schema) -> pa.Table:
    """Rows that any version wrote with exactly these columns; what they lack is null."""
    for field in fields:
        if field.name not in rows.column_names and field.nullable:
            rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
    return rows.select(fields.names).cast(fields)
