"""The best segments of some row groups: what threads of this process, and Ray's tasks, do.

Scores of a batch come from one matrix product in float32. Those that may be among the best are
computed again in float64 from their rows alone, so that the answers are the same however the tables
are cut into files, batches and tasks. Equal scores stand in the order of clip_id and segment.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.searching.parquet_rows import read_parquet, rows_where
from pipelines.storage.store import Store
from tagger.arrays import DoubleArray, FloatArray, RealArray
from tagger.schema import EMBEDDING_SIZE
from tagger.similarity import MARGIN, cosines, exact_cosines

BATCH_ROWS: Final = 1 << 14  # 8 MiB of float32

FOUND: Final = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("segment", pa.int32()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("score", pa.float32()),
    ]
)
"""Segments with their scores."""

_KEYS: Final = ["clip_id", "extractor"]
_COLUMNS: Final = [*_KEYS, "segment", "start_s", "end_s", "embedding"]
_ORDER: Final = [("score", "descending"), ("clip_id", "ascending"), ("segment", "ascending")]


@dataclass(frozen=True)
class Asked:
    """What is looked for.

    Attributes
    ----------
    direction : (128,) unit vector
    extractor : whose embeddings are compared
    n : answers, at most
    per_clip : only the best segment of each clip
    tag : only clips that have this tag; None: all
    excluded : by clip_id the segments that are no answers; None: none of the clip is
    """

    direction: DoubleArray
    extractor: str
    n: int
    per_clip: bool = False
    tag: str | None = None
    excluded: Mapping[str, frozenset[int] | None] = field(default_factory=dict)


class Piece(NamedTuple):
    """Row groups of some ``embeddings`` files, and the ``tags`` files of the same clips."""

    files: tuple[tuple[str, tuple[int, ...]], ...]
    tag_files: tuple[str, ...]
    n_rows: int


def scan(store: Store, asked: Asked, piece: Piece) -> pa.Table:
    """The best segments of a piece, best first; schema ``FOUND``.

    Raises
    ------
    FileNotFoundError : a file went meanwhile
    CommandError : a file is damaged
    """
    clips = None if asked.tag is None else _with_tag(store, asked.tag, piece.tag_files)
    found = [FOUND.empty_table()]
    for path, groups in piece.files:

        def best_of_file(file: pq.ParquetFile, groups: Sequence[int] = groups) -> pa.Table:
            rows = file.iter_batches(
                BATCH_ROWS, row_groups=groups, columns=_COLUMNS, use_threads=False
            )
            return _best_of(rows, asked, clips)

        found.append(read_parquet(store, path, best_of_file))
    return best(found, asked)


def best(found: Sequence[pa.Table], asked: Asked) -> pa.Table:
    """The best of several tables of ``FOUND``, best first."""
    rows = pa.concat_tables([FOUND.empty_table(), *found]).sort_by(_ORDER)
    if asked.per_clip:
        codes = rows["clip_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        rows = rows.take(np.sort(first))
    return rows.slice(0, asked.n)


def _with_tag(store: Store, tag: str, paths: Sequence[str]) -> pa.Array:
    """The clip_ids that have a tag."""
    tags = pa.array([tag])
    found = [rows_where(store, path, "tag", tags, ["clip_id"])["clip_id"] for path in paths]
    return pa.chunked_array([chunk for part in found for chunk in part.chunks], pa.string())


def _best_of(
    batches: Iterator[pa.RecordBatch], asked: Asked, clips: pa.ChunkedArray | None
) -> pa.Table:
    found = FOUND.empty_table()
    for batch in batches:
        least = found["score"][-1].as_py() if len(found) == asked.n else -np.inf
        candidates = _candidates(batch, asked, clips, least)
        if len(candidates):
            found = best([found, candidates], asked)
    return found


def _candidates(
    batch: pa.RecordBatch, asked: Asked, clips: pa.ChunkedArray | None, least: float
) -> pa.Table:
    """The segments of a batch that may be among the best; schema ``FOUND``.

    Parameters
    ----------
    least : score of the last of the best so far
    """
    clip = batch["clip_id"].dictionary_encode()
    codes = clip.indices.to_numpy()
    embeddings = vectors(batch["embedding"])
    scores = cosines(embeddings, asked.direction)
    scores[~_eligible(batch, clip.dictionary, codes, asked, clips)] = np.nan
    rows = np.flatnonzero(scores >= least - MARGIN)
    rows = rows[_among_best(scores[rows], codes[rows] if asked.per_clip else None, asked.n)]
    chosen = batch.take(pa.array(rows)).set_column(
        len(_COLUMNS) - 1, "score", pa.array(exact_cosines(embeddings[rows], asked.direction))
    )
    return pa.Table.from_batches([chosen]).select(FOUND.names).cast(FOUND)


def _eligible(
    batch: pa.RecordBatch,
    names: pa.Array,
    codes: npt.NDArray[np.int32],
    asked: Asked,
    clips: pa.ChunkedArray | None,
) -> npt.NDArray[np.bool_]:
    """Which segments may be answers; a clip_id is ``names[code]``."""
    found: npt.NDArray[np.bool_] = _mask(pc.equal(batch["extractor"], asked.extractor))
    if clips is not None:
        found &= _mask(pc.is_in(names, value_set=clips))[codes]
    for clip_id, segments in asked.excluded.items():
        of_clip = codes == pc.index(names, clip_id).as_py()
        if segments is not None and of_clip.any():
            of_clip &= np.isin(batch["segment"].to_numpy(), list(segments))
        found &= ~of_clip
    return found


def _among_best(
    scores: FloatArray, codes: npt.NDArray[np.int32] | None, n: int
) -> npt.NDArray[np.bool_]:
    """Which may be among the n best; with ``codes`` among the n clips with the best segments."""
    peaks = scores
    if codes is not None:
        _, places = np.unique(codes, return_inverse=True)
        peaks = np.full(places.max(initial=-1) + 1, -np.inf, np.float32)
        np.maximum.at(peaks, places, scores)
    if len(peaks) <= n:
        return np.ones(len(scores), bool)
    enough: npt.NDArray[np.bool_] = scores >= np.partition(peaks, -n)[-n] - MARGIN
    return enough


def vectors(column: pa.Array) -> RealArray:
    """The embeddings (n, 128) of a column, in its own type; NaN where there is none."""
    values = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    rows: RealArray = values.reshape(-1, EMBEDDING_SIZE)
    if column.null_count:
        there = _mask(column.is_valid())
        rows = np.full((len(column), EMBEDDING_SIZE), np.nan, np.float32)
        rows[there] = values.reshape(-1, EMBEDDING_SIZE)
    return rows


def _mask(truths: pa.Array) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = truths.fill_null(False).to_numpy(zero_copy_only=False)
    return found
