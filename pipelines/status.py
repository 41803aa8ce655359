"""``status``: what an output holds, what waits, and whether every invariant holds (design 4)."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.ledger import Ledger
from pipelines.lock import holder
from pipelines.output import read_settings
from pipelines.runs import RUNS, RunState
from pipelines.store import Store
from tagger import schema


@dataclass(frozen=True)
class ModelStatus:
    """What an output holds of one model.

    Attributes
    ----------
    n_tagged : clips that the log counts
    open_failures : clips whose last attempt failed, by reason
    n_unpublished : entries of the log whose tables are not complete yet
    n_staged : staged files that no entry counts yet
    broken : invariants that do not hold, one line each; empty unless they were verified
    """

    model_id: str
    n_entries: int
    n_tagged: int
    open_failures: dict[str, int]
    n_unpublished: int
    n_staged: int
    broken: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Status:
    """An output: its models, and its runs from the oldest to the newest."""

    models: tuple[ModelStatus, ...]
    runs: tuple[dict[str, Any], ...]


def status(store: Store, verify: bool = False) -> Status:
    """Read what an output says of itself; with ``verify`` count all tables against the log.

    Raises
    ------
    CommandError : not an output of this program
    """
    read_settings(store)
    logs = {path.split("/")[1] for path in store.list("_log")}
    staged = {path.split("/")[1] for path in store.list("_staging")}
    models = tuple(_model(store, model_id, verify) for model_id in sorted(logs | staged))
    return Status(models, tuple(_runs(store)))


def _model(store: Store, model_id: str, verify: bool) -> ModelStatus:
    ledger = Ledger(store, model_id)
    unpublished = ledger.refresh()
    _, waiting = ledger.staged_leftovers()
    failed = ledger.failed()
    return ModelStatus(
        model_id,
        ledger.n_entries,
        len(ledger.tagged()),
        dict(Counter(failed["reason"].to_pylist())),
        len(unpublished),
        len(waiting),
        tuple(_broken(store, ledger, len(unpublished))) if verify else (),
    )


def _runs(store: Store) -> Iterator[dict[str, Any]]:
    """The records; one that says ``running`` without a lock that names it was killed."""
    live = {holder(store, path) for path in store.list("_lock")}
    for path in store.list(RUNS):
        record: dict[str, Any] = json.loads(store.read(path))
        if record["state"] == RunState.RUNNING and record["run_id"] not in live:
            record["state"] = "killed"
        yield record


def _broken(store: Store, ledger: Ledger, n_unpublished: int) -> Iterator[str]:
    """Each invariant of the tables that does not hold."""
    if n_unpublished:
        yield f"{n_unpublished} entries are not published; the next run publishes them"
        return
    clips = _read(store, ledger.model_id, "clips", ["clip_id", "n_segments"])
    n_distinct = pc.count_distinct(clips["clip_id"]).as_py()
    if n_distinct != len(clips):
        yield f"clips: {len(clips) - n_distinct} rows are there twice"
    lost = _not_in(ledger.tagged(), clips["clip_id"])
    if lost:
        yield f"clips: {lost} clips that the log counts are missing"
    unknown = _not_in(clips["clip_id"], ledger.tagged())
    if unknown:
        yield f"clips: {unknown} rows that the log does not count"
    yield from _broken_tags(store, ledger.model_id, clips)
    yield from _broken_embeddings(store, ledger.model_id, clips)


def _broken_tags(store: Store, model_id: str, clips: pa.Table) -> Iterator[str]:
    tags = _read(store, model_id, "tags", ["clip_id", "rank"])
    per_clip = tags.group_by("clip_id").aggregate(
        [("rank", "max"), ("rank", "count"), ("rank", "count_distinct")]
    )
    n = _not_in(per_clip["clip_id"], clips["clip_id"])
    if n:
        yield f"tags: of {n} clips that are not in clips"
    whole = pc.and_(
        pc.equal(per_clip["rank_max"], per_clip["rank_count"]),
        pc.equal(per_clip["rank_count"], per_clip["rank_count_distinct"]),
    )
    n = len(per_clip) - (pc.sum(whole).as_py() or 0)
    if n:
        yield f"tags: {n} clips whose ranks are not 1, 2, 3, …"


def _broken_embeddings(store: Store, model_id: str, clips: pa.Table) -> Iterator[str]:
    if "embeddings" not in read_settings(store).tables:
        return
    rows = _read(store, model_id, "embeddings", ["clip_id", "extractor", "segment"])
    per_clip = rows.group_by(["clip_id", "extractor"]).aggregate(
        [("segment", "max"), ("segment", "count"), ("segment", "count_distinct")]
    )
    n = _not_in(per_clip["clip_id"], clips["clip_id"])
    if n:
        yield f"embeddings: of {n} clips that are not in clips"
    n = _not_in(clips["clip_id"], per_clip["clip_id"])
    if n:
        yield f"embeddings: none of {n} clips"
    joined = per_clip.join(clips, "clip_id", join_type="inner")
    whole = pc.and_(
        pc.equal(joined["segment_count"], joined["n_segments"]),
        pc.and_(
            pc.equal(joined["segment_count_distinct"], joined["n_segments"]),
            pc.equal(pc.add(joined["segment_max"], 1), joined["n_segments"]),
        ),
    )
    n = len(joined) - (pc.sum(whole).as_py() or 0)
    if n:
        yield f"embeddings: {n} clips whose segments are not 0 to n_segments - 1"


def _read(store: Store, model_id: str, table: str, columns: list[str]) -> pa.Table:
    """These columns of all files of a model's table."""
    paths = store.list(f"{table}/model={model_id}")
    parts = [
        store.scan(path, lambda opened: pq.ParquetFile(opened).read(columns)) for path in paths
    ]
    empty = schema.tables("float32")[table].empty_table().select(columns)
    return pa.concat_tables([empty, *(part.replace_schema_metadata() for part in parts)])


def _not_in(values: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """How many different ``values`` are not among ``others``."""
    different = values.unique()
    known = pc.is_in(different, value_set=others.combine_chunks())
    n: int = len(different) - (pc.sum(known).as_py() or 0)
    return n
