"""``status --verify``: all tables, counted against the log.

All rows of a clip come from one entry, so the tables are read entry by entry, and of them only the
columns that identify a row: what is in memory at a time does not grow with the output.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import FAILED, Entry, Failed
from pipelines.output.markers import is_published, read_marker
from pipelines.output.settings import Settings, read_settings
from pipelines.storage.store import Store
from tagger import schema

_COLUMNS: Final = {
    "tags": ["clip_id", "rank"],
    "embeddings": ["clip_id", "extractor", "segment"],
    "timeline": ["clip_id"],
    "events": ["clip_id"],
    "failures": FAILED.names,
    "clips": ["clip_id", "n_segments"],
}


def broken(store: Store, commit_log: CommitLog, files: Iterable[str]) -> Iterator[str]:
    """Each invariant of a model's tables that does not hold, in a line.

    A job may be at work meanwhile. What is not yet published is not wrong, nor what is replaced.

    Parameters
    ----------
    files : the model's table files, listed before the log was read: what is written since is not
        taken for a file that the log does not name
    """
    settings = read_settings(store)
    model_id = commit_log.model_id
    named: set[str] = set()
    for entry in _entries(commit_log):
        named.update(*entry.outputs.values())
        marker = read_marker(store, model_id, entry.number)
        if marker is None:
            yield from _of_unpublished(store, model_id, entry)
            continue
        named.update(marker.emptied)
        lines = [*_of_published(store, entry, marker.rows, settings)]
        if lines:
            commit_log.refresh()
        if entry.number in commit_log:  # else its rows were written anew meanwhile
            yield from (f"entry {entry.number}, {line}" for line in lines)
    named.update(_of_replaced(commit_log))
    for path in files:
        if path not in named and store.exists(path):
            yield f"{path}: the log does not name it; remove it"
    n_twice = len(commit_log.tagged()) - pc.count_distinct(commit_log.tagged()).as_py()
    if n_twice:
        yield f"log: {n_twice} clips are counted twice"


def _entries(commit_log: CommitLog) -> Iterator[Entry]:
    """The entries that count; when one is replaced meanwhile, the one that replaces it."""
    seen: set[int] = set()
    while unseen := [number for number in commit_log.numbers() if number not in seen]:
        try:
            for number in unseen:
                entry = commit_log.entry(number)
                seen.add(number)
                yield entry
        except FileNotFoundError:
            commit_log.refresh()


def _of_replaced(commit_log: CommitLog) -> set[str]:
    """Table files of replaced entries that are still in the log, since a swap is under way."""
    found: set[str] = set()
    for number in commit_log.replaced_files:
        with suppress(FileNotFoundError):
            found.update(*commit_log.entry(number).outputs.values())
        marker = read_marker(commit_log.store, commit_log.model_id, number)
        found.update(marker.emptied if marker else ())
    return found


def _of_unpublished(store: Store, model_id: str, entry: Entry) -> Iterator[str]:
    """What keeps an entry from being published."""
    wanted = {layout.staged(model_id, staged.file) for staged in entry.staged if staged.rows}
    wanted |= {layout.rewritten(model_id, file) for file in entry.rewritten.values()}
    folders = layout.staging(model_id), layout.rewriting(model_id)
    n_gone = len(wanted.difference(*(store.list(folder) for folder in folders)))
    if n_gone and not is_published(store, model_id, entry.number):
        yield f"entry {entry.number}: {n_gone} files that it has yet to publish are gone"


def _of_published(
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
    for table in ("tags", "embeddings", "timeline", "events"):
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
