"""``search``: the segments of the tables that are most like an embedding, for programs.

    answers = search("tables/", embedding, top=10)
    answers["uri"], answers["start_s"], answers["end_s"], answers["score"]

Every segment is compared, so the answers are exact; there is no index to build or to keep.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.output.settings import read_settings
from pipelines.runtime.limits import Resources
from pipelines.searching.clips import current_uris
from pipelines.searching.compare import best_segments
from pipelines.searching.parquet_rows import read_parquet
from pipelines.searching.pieces import pieces_of, row_groups
from pipelines.searching.scan import Asked, vectors
from pipelines.searching.table_files import TableFiles, models_with, of_steady_tables
from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.store import Store, open_store
from tagger.arrays import DoubleArray, RealArray
from tagger.configs import require_positive
from tagger.errors import CommandError
from tagger.schema import EMBEDDING_SIZE
from tagger.similarity import common_direction

ANSWERS: Final = pa.schema(
    [
        pa.field("uri", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("score", pa.float32()),
    ]
)
"""What a search answers: segments, best first; ``score`` is a cosine, from -1 to 1."""


def search(
    tables: str,
    embedding: Any,
    *,
    unlike: Any = None,
    top: int = 20,
    tag: str | None = None,
    per_clip: bool = False,
    without: Iterable[str] = (),
    extractor: str | None = None,
    model_id: str | None = None,
    resources: Resources = Resources(),
    store_patience_s: float = PATIENCE_S,
) -> pa.Table:
    """The segments most like an embedding, best first; schema ``ANSWERS``.

    Of recordings that were tagged in several versions the current one answers. Equal scores stand
    in the order of clip_id and segment.

    Parameters
    ----------
    tables : folder or ``s3://`` prefix of an output of ``tag``
    embedding : 128 numbers, or (n, 128), whose average direction is searched for: an array, or a
        column as the table embeddings has it
    unlike : embeddings that answers should be far from
    top : answers, at most
    tag : only clips that have this tag among their tags
    per_clip : the best segment of each clip only
    without : clip_ids that are no answers
    extractor : whose embeddings these are; None: the model's first
    model_id : of which model they are; None: of the only one
    resources : CPUs; work of more than a minute on one core is done on Ray

    Raises
    ------
    CommandError : no such tables, model or extractor; tables that are damaged; embeddings that are
        all zero, or not of 128 numbers
    AccessDenied, StoreUnavailable : the store gave out
    """
    require_positive("top", top)
    direction = _direction(embedding, unlike)
    excluded = dict.fromkeys(without)
    store = open_store(tables, store_patience_s)

    def ask(files: TableFiles) -> pa.Table:
        name = chosen_extractor(files, extractor)
        return answers(files, Asked(direction, name, top, per_clip, tag, excluded), resources)

    return of_steady_tables(store, _chosen_model(store, model_id), ask)


def _chosen_model(store: Store, model_id: str | None) -> str:
    known = models_of(store)
    if model_id is None and len(known) > 1:
        raise CommandError(f"{store.root} has several models, name one: {', '.join(known)}")
    if model_id not in (None, *known):
        raise CommandError(f"{store.root} has no model {model_id}; it has: {', '.join(known)}")
    return model_id or known[0]


def models_of(store: Store) -> list[str]:
    """The models whose embeddings an output has; CommandError where there is none."""
    settings = read_settings(store)
    if "embeddings" not in settings.tables:
        raise CommandError(f"{store.root} was begun without embeddings, which search compares")
    known = models_with(store, "embeddings")
    if not known:
        raise CommandError(f"{store.root} has no embeddings yet")
    return known


def answers(files: TableFiles, asked: Asked, resources: Resources) -> pa.Table:
    """What is asked for, from current versions only; schema ``ANSWERS``.

    Segments of other versions are found as well, so more are looked for until there are enough.
    """
    pieces = pieces_of(files)
    if asked.tag is not None:
        row_groups(files, "tags")  # counts them
    n = asked.n
    while True:
        n *= 2
        found = best_segments(files.store, replace(asked, n=n), pieces, resources)
        uris = current_uris(files, found["clip_id"])
        named = [uris.get(clip_id) for clip_id in found["clip_id"].to_pylist()]
        current = found.append_column("uri", pa.array(named, pa.string())).filter(
            pa.array([name is not None for name in named], pa.bool_())
        )
        if len(current) >= asked.n or len(found) < n:
            return current.select(ANSWERS.names).slice(0, asked.n).cast(ANSWERS)


def chosen_extractor(files: TableFiles, name: str | None) -> str:
    """The extractor of that name, or the model's first; CommandError where there is none."""
    known = _extractors(files)
    if name is not None and known and name not in known:
        raise CommandError(f"there is no extractor {name}; there are: {', '.join(known)}")
    return name or next(iter(known), "")


def _extractors(files: TableFiles) -> list[str]:
    """The extractors of a model in its own order, in which every clip has them."""

    def of_first_rows(file: pq.ParquetFile) -> list[str]:
        if not file.metadata.num_rows:
            return []
        names: list[str] = file.read_row_group(0, ["extractor"])["extractor"].unique().to_pylist()
        return names

    found = (read_parquet(files.store, path, of_first_rows) for path in files.paths("embeddings"))
    return next(filter(None, found), [])


def _direction(embedding: Any, unlike: Any) -> DoubleArray:
    unlikes = [] if unlike is None else [_rows(unlike)]
    direction = common_direction([_rows(embedding)], unlikes)
    if direction is None:
        raise CommandError("the embedding is zero, or the same as what is to be unlike it")
    return direction


def _rows(embedding: Any) -> RealArray:
    """Embeddings as (n, 128) numbers."""
    if isinstance(embedding, pa.ChunkedArray):
        embedding = embedding.combine_chunks()
    if isinstance(embedding, pa.FixedSizeListArray):
        return vectors(embedding)
    rows = np.atleast_2d(np.asarray(embedding, np.float64))
    if rows.ndim != 2 or rows.shape[1] != EMBEDDING_SIZE or not len(rows):
        raise CommandError(f"an embedding is {EMBEDDING_SIZE} numbers, not {rows.shape}")
    return rows
