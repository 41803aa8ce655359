"""A search from what the command names to answers."""

import difflib
from functools import partial

import pyarrow as pa

from pipelines.searching.job import SearchJob
from pipelines.searching.queries import Query, QueryReader
from pipelines.searching.scan import Asked
from pipelines.searching.search import answers, chosen_extractor, models_of
from pipelines.searching.table_files import TableFiles, of_steady_tables
from pipelines.storage.models import read_model
from pipelines.storage.store import Store, open_store
from tagger.card import BUNDLED, ModelFiles
from tagger.errors import CommandError, OptionError
from tagger.similarity import common_direction


def find(job: SearchJob) -> pa.Table:
    """Run the job; schema ``search.ANSWERS``, best first.

    Raises
    ------
    CommandError : no such tables, model, extractor, tag or query; tables that are damaged
    AccessDenied, StoreUnavailable : a store gave out
    ClusterLost, NodesMissing : the Ray cluster did
    """
    store = open_store(job.tables, job.store_patience_s)
    model_id, model = _model(store, job)
    return of_steady_tables(store, model_id, partial(_find, job, model))


def _find(job: SearchJob, model: ModelFiles | None, files: TableFiles) -> pa.Table:
    extractor = chosen_extractor(files, job.extractor)
    read = QueryReader(files, model, extractor, job.segment_s)
    queries = read([*job.queries, *job.not_])
    n = len(job.queries)
    direction = common_direction(
        [query.embeddings for query in queries[:n]], [query.embeddings for query in queries[n:]]
    )
    if direction is None:
        raise CommandError(
            "what is searched for cancels out: embeddings that are all zero, or opposites"
        )
    asked = Asked(
        direction, extractor, job.top, job.per_clip, job.tag, _excluded(queries, job.per_clip)
    )
    found = answers(files, asked, job.resources)
    if job.tag is not None and not len(found):
        _require_tag(files, job.tag)
    return found


def _excluded(queries: list[Query], per_clip: bool) -> dict[str, frozenset[int] | None]:
    """The segments that were asked with are no answers, nor, clip by clip, their clips."""
    excluded: dict[str, frozenset[int] | None] = {}
    for query in queries:
        if per_clip:
            excluded |= dict.fromkeys(query.clip_ids)
        elif query.clip_ids:
            excluded[query.clip_ids[0]] = query.segments
    return excluded


def _model(store: Store, job: SearchJob) -> tuple[str, ModelFiles | None]:
    """The model whose tables are searched, and its files if they are at hand."""
    known = models_of(store)
    named = job.model if job.model is not None and job.model not in known else str(BUNDLED)
    model = read_model(named, job.store_patience_s)
    model_id = model.card.model_id
    if job.model in known:
        model_id = job.model
    elif job.model is None and len(known) == 1:
        (model_id,) = known
    if model_id not in known:
        names = ", ".join(known)
        raise OptionError("model", f"must be one that made {store.root}: {names}, not {model_id}")
    return model_id, model if model.card.model_id == model_id else None


def _require_tag(files: TableFiles, tag: str) -> None:
    """OptionError if no clip has the tag."""
    known = files.different("tags", "tag")
    if tag not in known:
        close = difflib.get_close_matches(tag, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise OptionError("tag", f"is a tag that no clip has: {tag}{hint}")
