"""Recordings erased from an output, and models retired from it.

``forget`` erases in this order:

1. The tombstones are written; they still name the recordings (``forgotten``).
2. In the log of each model an empty entry is appended. No later entry can hold a forgotten
   recording (``commit_log``). What is staged is committed, without them.
3. Entries whose tables hold one of the recordings are written anew without it (``rewriting``).
4. The recordings are taken out of the records of the runs, and what was moved aside since it is
   damaged is removed: nobody can tell what is in it.
5. The tombstones are written again, without names. That is the mark that all is done.

Killed anywhere, the next ``tag``, ``forget`` or ``compact`` finds tombstones with names and does
steps 2 to 5 again; what is done by then is only read.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.forgotten import Forgotten
from pipelines.output.inventory import models, table_files
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Entry, Run
from pipelines.output.markers import mark, read_marker, read_published
from pipelines.output.publication import publish
from pipelines.output.recordings import COLUMNS, recordings
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.rewriting import rewrite
from pipelines.output.run_records import read_record
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store
from pipelines.storage.uris import is_local, local_path
from tagger.errors import CommandError

_log = logging.getLogger(__name__)

ERASED: Final = "(forgotten)"
"""Stands in the records of runs where a forgotten recording was named."""

_ABANDONED_S: Final = 60.0


@contextmanager
def locked(store: Store, run: Run, but: str | None = None) -> Iterator[None]:
    """Hold the locks of all models of an output, except one; CommandError when a job is at work."""
    with ExitStack() as stack:
        for model_id in models(store):
            if model_id != but:
                stack.enter_context(Lock(store, model_id, run.run_id))
        yield


def finish_forgetting(store: Store, run: Run, held: str) -> None:
    """Complete a ``forget`` that was cut short, if there is one, and no other job is at work.

    Parameters
    ----------
    held : the model whose lock the caller holds
    """
    if not Forgotten.read(store).pending:
        return
    try:
        with locked(store, run, but=held):
            erase_pending(store, run)
    except CommandError as busy:
        _log.warning("recordings that are to be forgotten wait for another time: %s", busy)


def erase_pending(store: Store, run: Run) -> int:
    """Steps 2 to 5 for all tombstones with names, under the locks of all models.

    Returns
    -------
    How many clips were in the tables.
    """
    forgotten = Forgotten.read(store)
    if not forgotten.pending:
        return 0
    uris = pa.array(forgotten.pending, pa.string())
    n_erased = 0
    for model_id in models(store):
        n_erased += _erase(CommitLog(store, model_id), run, uris)
    _erase_from_records(store, forgotten.pending)
    store.remove(store.list(layout.DAMAGED))
    store.sweep(_ABANDONED_S)
    for stone in forgotten.tombstones:
        if stone.uris:
            replace(stone, uris=()).write(store)
    return n_erased


def retire(commit_log: CommitLog, run: Run) -> None:
    """Take everything of a model out of the output, under its lock, so that it may tag anew.

    What stays is an empty entry that replaces all others: numbers are not used twice.
    """
    store, model_id = commit_log.store, commit_log.model_id
    staged = store.list(layout.staging(model_id))
    entry = _empty_instead(commit_log, run, staged)
    while not commit_log.append(entry):
        entry = _empty_instead(commit_log, run, staged)
    publish(store, model_id, entry)
    store.remove(staged)
    marker = read_marker(store, model_id, entry.number)
    emptied = marker.emptied if marker else ()
    store.remove(path for path in table_files(store, model_id) if path not in emptied)
    store.remove(path for path in store.list(layout.DAMAGED) if model_id in layout.models_of(path))
    recover(commit_log, run, partial(publish, store, model_id))


def _empty_instead(commit_log: CommitLog, run: Run, staged: Sequence[str]) -> Entry:
    """The next entry, which holds nothing, stands for all others, and voids staged files."""
    number = commit_log.next_number
    voided = (path.rpartition("/")[2] for path in staged)
    return Entry.empty(number, run, voided, range(number))


def _erase(commit_log: CommitLog, run: Run, uris: pa.Array) -> int:
    """Steps 2 and 3 for one model; returns how many clips and failed attempts were erased."""
    store, model_id = commit_log.store, commit_log.model_id
    publish_here = partial(publish, store, model_id)
    require_log(commit_log)
    mark(store, model_id, commit_log.fence(run).number, {})
    recover(commit_log, run, publish_here)
    require_tables(commit_log)
    clean: set[int] = set()
    n_erased = 0
    while unseen := [number for number in commit_log.numbers() if number not in clean]:
        found = in_parallel(partial(_clips_of, commit_log, uris), unseen)
        for number, clips in zip(unseen, found, strict=True):
            if clips is None or number not in commit_log:
                continue
            if not len(clips):
                clean.add(number)
                continue
            entry = rewrite(commit_log, run, [commit_log.entry(number)], clips)
            if entry is not None:
                publish_here(entry)
                clean.add(entry.number)
                n_erased += len(clips)
        for entry in commit_log.refresh():
            publish_here(entry)
    return n_erased


def _clips_of(commit_log: CommitLog, uris: pa.Array, number: int) -> pa.Array | None:
    """The clip_ids that a published entry holds of these recordings; None for any other entry."""
    store = commit_log.store
    marker = read_marker(store, commit_log.model_id, number)
    if marker is None:
        return None
    outputs = commit_log.entry(number).outputs
    found = [pa.array([], pa.string())]
    for path in (*outputs.get("clips", ()), *outputs.get("failures", ())):
        rows = read_published(store, marker, number, path, COLUMNS)
        named = (pc.is_in(of, value_set=uris) for of in (rows["uri"], recordings(rows)))
        hits = rows["clip_id"].filter(pc.or_(*named))
        found.append(hits.combine_chunks())
    return pa.concat_arrays(found)


def _erase_from_records(store: Store, uris: Sequence[str]) -> None:
    """Take the recordings out of all texts in the records of runs: as URI, and as absolute path."""
    names = [*uris, *(local_path(uri) for uri in uris if is_local(uri))]
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    named = re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")

    for path in store.list(layout.RUNS):
        try:
            before = read_record(store, path)
            after = _without(named, before)
            if after != before:
                store.write(path, json.dumps(after, indent=2, ensure_ascii=False).encode())
        except ValueError:  # broken, but a name in it can be read all the same
            text = store.read(path).decode(errors="surrogateescape")
            if named.search(text):
                store.write(path, named.sub(ERASED, text).encode(errors="surrogateescape"))


def _without(named: re.Pattern[str], value: Any) -> Any:
    """A value of JSON with what matches taken out of all its texts."""
    if isinstance(value, str):
        return named.sub(ERASED, value)
    if isinstance(value, list):
        return [_without(named, part) for part in value]
    if isinstance(value, dict):
        return {key: _without(named, part) for key, part in value.items()}
    return value
