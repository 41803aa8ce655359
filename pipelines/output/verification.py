"""``status --verify``: all files against their hashes, all tables counted against the log.

All rows of a clip come from one entry, so the tables are read entry by entry, and of them only the
columns that identify a row are kept: what is in memory at a time does not grow with the output.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import DamagedFile, digest, is_as_named
from pipelines.output.log_entry import FAILED, Entry, Failed, Marker
from pipelines.output.markers import is_published, read_marker
from pipelines.output.parquet_files import UnreadableError, decode, read_columns
from pipelines.output.settings import Settings, read_settings
from pipelines.storage.store import Store
from tagger import schema
from tagger.calibration import Threshold

How = Literal["bytes", "counts"]

_IDENTITY: Final = {
    "tags": ["clip_id", "rank"],
    "embeddings": ["clip_id", "extractor", "segment"],
    "timeline": ["clip_id"],
    "events": ["clip_id"],
    "failures": FAILED.names,
    "clips": ["clip_id", "n_segments"],
}


class Verified(NamedTuple):
    """What was found wrong with the tables of a model.

    Attributes
    ----------
    broken : each invariant that does not hold, in a line
    n_unhashed : table files of which only rows could be counted: the first version wrote no hashes
    """

    broken: list[str]
    n_unhashed: int


def verify(store: Store, commit_log: CommitLog, files: Iterable[str], how: How) -> Verified:
    """Compare a model's tables with its log.

    A job may be at work meanwhile. What is not yet published is not wrong, nor what is replaced.

    Parameters
    ----------
    files : the model's table files, listed before the log was read: what is written since is not
        taken for a file that the log does not name
    how : "bytes" reads every file whole, "counts" only the columns that identify rows
    """
    settings = read_settings(store)
    model_id = commit_log.model_id
    found: list[str] = []
    named: set[str] = set()
    n_unhashed = 0
    for entry in _entries(commit_log):
        named.update(*entry.outputs.values())
        try:
            marker = read_marker(store, model_id, entry.number)
        except DamagedFile as damaged:
            found.append(damaged.line)
            continue
        if marker is None:
            found += _of_unpublished(store, model_id, entry)
            continue
        named.update(marker.emptied)
        n_unhashed += len({*_paths(entry)} - marker.hashes.keys())
        lines = [*_of_published(store, entry, marker, settings, how)]
        if lines:
            commit_log.refresh()
        if entry.number in commit_log:  # else its rows were written anew meanwhile
            found += (f"entry {entry.number}, {line}" for line in lines)
    named |= _of_replaced(commit_log)
    unnamed = [path for path in files if path not in named and store.exists(path)]
    found += (f"{path}: the log does not name it; {_advice(commit_log, path)}" for path in unnamed)
    n_twice = len(commit_log.tagged()) - pc.count_distinct(commit_log.tagged()).as_py()
    if n_twice:
        found.append(f"log: {n_twice} clips are counted twice")
    found += _of_waiting(store, commit_log)
    return Verified(found, n_unhashed)


def _advice(commit_log: CommitLog, path: str) -> str:
    if layout.number_of_table(path) < commit_log.next_number:
        return "remove it"
    return "its entry is lost, and rebuild-log makes it anew; or remove it, if it is a stray copy"


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


def _paths(entry: Entry) -> Iterator[str]:
    for paths in entry.outputs.values():
        yield from paths


def _of_unpublished(store: Store, model_id: str, entry: Entry) -> Iterator[str]:
    """What keeps an entry from being published: files that it needs, and has made already."""
    wanted = [layout.staged(model_id, staged.file) for staged in entry.staged if staged.rows]
    wanted += [layout.rewritten(model_id, file) for file in entry.rewritten.values()]
    for path in (*wanted, *filter(store.exists, _paths(entry))):
        problem = _changed(store, path)
        if problem and not is_published(store, model_id, entry.number):
            yield f"entry {entry.number}, which waits to be published: {path} {problem}"


def _of_waiting(store: Store, commit_log: CommitLog) -> Iterator[str]:
    """Staged files that were damaged before an entry named them."""
    _, waiting = commit_log.staged_leftovers()
    for name in waiting:
        path = layout.staged(commit_log.model_id, name)
        if _changed(store, path) and store.exists(path):
            yield f"{path} was changed; the next tag moves it aside and does its clips again"


def _changed(store: Store, path: str) -> str | None:
    """What is wrong with a staged or rewritten file."""
    name = path.rpartition("/")[2]
    try:
        data = store.read(path)
        if not is_as_named(name, data):
            return "was changed"
        decode(data)
    except FileNotFoundError:
        return "is missing"
    except UnreadableError:
        return "cannot be read"
    return None


def _of_published(
    store: Store, entry: Entry, marker: Marker, settings: Settings, how: How
) -> Iterator[str]:
    """What is wrong with the tables of a published entry."""
    found = {}
    for table in settings.tables:
        parts = [identity(table).empty_table()]
        for path in entry.outputs.get(table, ()):
            problem, rows = _read(store, path, identity(table), marker.hashes.get(path), how)
            if problem:
                yield f"{path} {problem}"
            parts.append(identity(table).empty_table() if rows is None else rows)
        found[table] = pa.concat_tables(parts)
        n_more = len(found[table]) - marker.rows.get(table, 0)
        if n_more:
            yield f"{table}: {abs(n_more)} rows {'too many' if n_more > 0 else 'are missing'}"
    for path in filter(store.exists, marker.emptied):
        fields = identity(layout.table_of(path))
        problem, _ = _read(store, path, fields, marker.hashes.get(path), how)
        if problem:
            yield f"{path} {problem}"
    yield from not_as_logged(entry, found, settings)


def not_as_logged(entry: Entry, found: Mapping[str, pa.Table], settings: Settings) -> Iterator[str]:
    """What the rows of an entry's tables and the entry do not agree on.

    Parameters
    ----------
    found : by table, the columns that identify rows (``identity``)
    """
    clips, failures = found["clips"], found["failures"]
    yield from _differences("clips", clips["clip_id"].to_pylist(), entry.clip_ids)
    attempts = zip(*(failures[name].to_pylist() for name in FAILED.names), strict=True)
    yield from _differences("failures", map(Failed._make, attempts), entry.failed)
    for table in ("tags", "embeddings", "timeline", "events"):
        n = _not_in(found[table]["clip_id"], clips["clip_id"]) if table in found else 0
        if n:
            yield f"{table}: of {n} clips that are not in clips"
    yield from _broken_tags(found["tags"], clips, settings.threshold)
    if "embeddings" in found:
        yield from _broken_embeddings(found["embeddings"], clips)


def _differences(
    table: str, found: Iterable[Hashable], logged: Sequence[Hashable]
) -> Iterator[str]:
    there, wanted = Counter(found), Counter(logged)
    if wanted - there:
        yield f"{table}: {(wanted - there).total()} rows that the log counts are missing"
    if there - wanted:
        yield f"{table}: {(there - wanted).total()} rows that the log does not count"


def _broken_tags(tags: pa.Table, clips: pa.Table, threshold: Threshold) -> Iterator[str]:
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


def _read(
    store: Store, path: str, fields: pa.Schema, wanted: str | None, how: How
) -> tuple[str | None, pa.Table | None]:
    """What is wrong with a table file, and its columns if they can be read.

    Parameters
    ----------
    wanted : the hash that it should have, where one is known
    """
    problem = None
    try:
        if how == "counts" or wanted is None:
            return None, read_columns(store, path, fields)
        data = store.read(path)
        if digest(data) != wanted:
            problem = "was changed since it was published"
        return problem, decode(data, fields)
    except FileNotFoundError:
        return "is missing", None
    except UnreadableError:
        return problem or "cannot be read", None


def identity(table: str) -> pa.Schema:
    """The columns that identify the rows of a table."""
    fields = schema.tables("float32")[table]
    return pa.schema([fields.field(name) for name in _IDENTITY[table]])


def _not_in(values: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    """How many different ``values`` are not among ``others``."""
    different = values.unique()
    known = pc.is_in(different, value_set=others.combine_chunks())
    n: int = len(different) - (pc.sum(known).as_py() or 0)
    return n
