"""``status --verify``: all tables, counted against the log.

All rows of a clip come from one entry, so the tables are read entry by entry, and of them only the
columns that identify a row: what is in memory at a time does not grow with the output.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import FAILED, Entry, Failed
from pipelines.output.publication import published_rows
from pipelines.output.settings import Settings, read_settings
from pipelines.storage.store import Store
from tagger import schema

_COLUMNS: Final = {
    "tags": ["clip_id", "rank"],
    "embeddings": ["clip_id", "extractor", "segment"],
    "timeline": ["clip_id"],
    "failures": FAILED.names,
    "clips": ["clip_id", "n_segments"],
}


def table_files(store: Store) -> list[str]:
    """Return the paths of all files of all tables."""
    paths = (path for table in schema.tables("float32") for path in store.list(table))
    return [path for path in paths if path.endswith(".parquet")]


def broken(store: Store, commit_log: CommitLog, files: Iterable[str]) -> Iterator[str]:
    """Each invariant of a model's tables that does not hold, in a line.

    A job may be at work meanwhile. What is not yet published is not wrong.

    Parameters
    ----------
    files : ``table_files`` of the model, listed before the log was read: what is written since is
        not taken for a file that the log does not name
    """
    settings = read_settings(store)
    staged = set(store.list(layout.staging(commit_log.model_id)))
    named: set[str] = set()
    for number in range(commit_log.n_entries):
        entry = commit_log.entry(number)
        named.update(*entry.outputs.values())
        rows = published_rows(store, commit_log.model_id, number)
        if rows is not None:
            yield from (
                f"entry {number}, {line}" for line in _of_entry(store, entry, rows, settings)
            )
            continue
        gone = {layout.staged(commit_log.model_id, s.file) for s in entry.staged if s.rows} - staged
        if gone:
            yield f"entry {number}: {len(gone)} staged files that it has yet to publish are gone"
    yield from (
        f"{path}: the log does not name it; remove it" for path in files if path not in named
    )
    n_twice = len(commit_log.tagged()) - pc.count_distinct(commit_log.tagged()).as_py()
    if n_twice:
        yield f"log: {n_twice} clips are counted twice"


def _of_entry(
    store: Store, entry: Entry, rows: dict[str, int], settings: Settings
) -> Iterator[str]:
    """What is wrong with the tables of a published entry."""
    found = {}
    for table in settings.tables:
        parts = [_read(store, table, path) for path in entry.outputs.get(table, ())]
        found[table] = pa.concat_tables(
            [_empty(table), *(part for part in parts if part is not None)]
        )
        if None in parts:
            yield f"{table}: {parts.count(None)} files are missing or cannot be read"
        n_more = len(found[table]) - rows.get(table, 0)
        if n_more:
            yield f"{table}: {abs(n_more)} rows {'too many' if n_more > 0 else 'are missing'}"
    clips, failures = found["clips"], found["failures"]
    yield from _not_as_logged("clips", clips["clip_id"].to_pylist(), entry.clip_ids)
    attempts = zip(*(failures[name].to_pylist() for name in FAILED.names), strict=True)
    yield from _not_as_logged("failures", map(Failed._make, attempts), entry.failed)
    for table in ("tags", "embeddings", "timeline"):
        n = _not_in(found[table]["clip_id"], clips["clip_id"]) if table in found else 0
        if n:
            yield f"{table}: of {n} clips that are not in clips"
    yield from _broken_tags(found["tags"], clips, settings.threshold)
    if "embeddings" in found:
        yield from _broken_embeddings(found["embeddings"], clips)


def _not_as_logged(
    table: str, found: Iterable[Hashable], logged: Sequence[Hashable]
) -> Iterator[str]:
    there, wanted = Counter(found), Counter(logged)
    if wanted - there:
        yield f"{table}: {(wanted - there).total()} rows that the log counts are missing"
    if there - wanted:
        yield f"{table}: {(there - wanted).total()} rows that the log does not count"


def _broken_tags(tags: pa.Table, clips: pa.Table, threshold: float) -> Iterator[str]:
    n = _not_in(clips["clip_id"], tags["clip_id"])
    if n and threshold == 0.0:
        yield f"tags: none of {n} clips"
    per_clip = tags.group_by("clip_id").aggregate(
        [("rank", "max"), ("rank", "count"), ("rank", "count_distinct")]
    )
    n = len(per_clip) - len(_whole(per_clip, "rank", per_clip["rank_max"]))
    if n:
        yield f"tags: {n} clips whose ranks are not 1, 2, 3, …"


def _broken_embeddings(rows: pa.Table, clips: pa.Table) -> Iterator[str]:
    per_extractor = rows.group_by(["clip_id", "extractor"]).aggregate(
        [("segment", "max"), ("segment", "count"), ("segment", "count_distinct")]
    )
    joined = per_extractor.join(clips, "clip_id", join_type="inner")
    last = pc.equal(pc.add(joined["segment_max"], 1), joined["n_segments"])
    whole = _whole(joined.filter(last), "segment", joined["n_segments"].filter(last))
    per_clip = whole.group_by("clip_id").aggregate([("extractor", "count_distinct")])
    n_extractors = pc.count_distinct(rows["extractor"])
    complete = per_clip.filter(pc.equal(per_clip["extractor_count_distinct"], n_extractors))
    n = _not_in(clips["clip_id"], complete["clip_id"])
    if n:
        yield f"embeddings: {n} clips without segments 0 to n_segments - 1 of every extractor"


def _whole(groups: pa.Table, column: str, n_rows: pa.ChunkedArray) -> pa.Table:
    """The groups that have so many rows, and as many different values."""
    counts = (groups[f"{column}_{how}"] for how in ("count", "count_distinct"))
    return groups.filter(pc.and_(*(pc.equal(count, n_rows) for count in counts)))


def _read(store: Store, table: str, path: str) -> pa.Table | None:
    """The columns that identify rows; None where there is no such table file."""
    columns = _empty(table).schema
    try:
        return store.scan(
            path, lambda opened: pq.ParquetFile(opened).read(columns.names).cast(columns)
        )
    except (FileNotFoundError, ValueError):  # Arrow's for what is no Parquet is one
        return None


def _empty(table: str) -> pa.Table:
    return schema.tables("float32")[table].empty_table().select(_COLUMNS[table])


def _not_in(values: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """How many different ``values`` are not among ``others``."""
    different = values.unique()
    known = pc.is_in(different, value_set=others.combine_chunks())
    n: int = len(different) - (pc.sum(known).as_py() or 0)
    return n
