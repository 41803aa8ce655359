"""A bit flipped anywhere in an output: it is told, or does no harm; and nothing is lost by it."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.erasure import erase_pending, finish_forgetting
from pipelines.output.forgotten import bury
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Entry
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.redoing import redo
from pipelines.output.run_records import RunRecord
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.output.views import write_views
from pipelines.storage.store import Store, open_store
from tests.support.outputs import (
    MODEL,
    RUN,
    Build,
    add,
    commit,
    content,
    copy_to,
    counts,
    tables,
)

CLIPS = "abcdefgh"
TABLES = ("tags", "embeddings", "failures", "clips")
NO_DATA = ("views.sql", "_runs/", "_lock/")
"""What may be changed without a word: no row depends on it, and the next run writes it anew."""

VERSION_1 = Path(__file__).parents[2] / "golden" / "version_1" / "output"


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def tag(store: Store, settings: Settings, staged_table: Build, again: int | None = None) -> None:
    """What ``tag`` does to an output, with made-up rows for what is not done."""
    open_output(store, settings)
    with Lock(store, MODEL, "next", beat_s=0.05, silence_s=0.1):
        commit_log = CommitLog(store, MODEL)

        def publish_here(entry: Entry) -> None:
            publish(store, MODEL, entry)

        require_log(commit_log)
        finish_forgetting(store, RUN, held=MODEL)
        if again is not None:
            redo(commit_log, RUN, again)
        recover(commit_log, RUN, publish_here)
        require_tables(commit_log)
        done = {*commit_log.tagged().to_pylist()}
        rows = [(clip, None, "next") for clip in CLIPS if clip not in done]
        rows = [row for row in rows if f"file:///{row[0]}" not in commit_log.forgotten]
        if rows:
            entry = commit_log.commit(RUN, [stage(staged_table(rows), store, MODEL)])
            assert entry is not None
            publish_here(entry)
    write_views(store)


def assert_all_there(store: Store, clips: str) -> None:
    """Each of the clips has all its rows, once."""
    found = counts(store)
    for table, n_rows in (("clips", 1), ("tags", 2), ("embeddings", 6)):
        assert found[table] == dict.fromkeys(clips, n_rows), table
    assert_none_twice_but_timeline(store)


def assert_none_twice_but_timeline(store: Store) -> None:
    failures = Counter((row["clip_id"], row["run_id"]) for row in tables(store)["failures"])
    assert set(failures.values()) <= {1}


@pytest.fixture
def without_timeline(settings: Settings) -> Settings:
    return replace(settings, tables=TABLES)


@pytest.fixture
def everything(tmp_path: Path, without_timeline: Settings, staged_table: Build) -> dict[str, bytes]:
    """An output with a file of every kind, in which "h" is forgotten."""
    store = open_store(str(tmp_path / "everything"))
    open_output(store, without_timeline)
    add(store, staged_table([("a", None, "r1"), ("b", "timeout", "r1")]))
    add(store, staged_table([("b", None, "r2")]))
    compact(CommitLog(store, MODEL), RUN)  # leaves emptied files
    add(store, staged_table([("c", None, "r3"), ("h", None, "r3")]))
    bury(store, "forget", ["file:///h"])
    erase_pending(store, RUN)
    commit(store, staged_table([("d", None, "r4"), ("e", "empty", "r4")]))
    stage(staged_table([("f", None, "r5")]), store, MODEL)
    RunRecord("r5", ["tag"], {}, MODEL).write(store)
    with Lock(store, MODEL, "r5"):
        left = store.read(f"_lock/{MODEL}.json")
    store.write(f"_lock/{MODEL}.json", left)
    write_views(store)
    return content(store)


def kind(path: str) -> str:
    """The kind of a file of an output."""
    folder, _, name = path.partition("/")
    return folder + Path(name).suffix if "." in name else path


def told(store: Store) -> list[str]:
    """All lines in which ``status --verify`` complains."""
    found = status(store, verify="bytes")
    lines = [line for model in found.models for line in model.broken]
    return [*found.broken, *lines, *found.unreadable]


def test_there_is_a_file_of_every_kind(everything: dict[str, bytes]) -> None:
    kinds = {kind(path) for path in everything}
    assert kinds == {
        *("_output.json", "_log.json", "_log.published", "_staging.parquet", "_lock.json"),
        *("_runs.json", "_forgotten.json", "_forgotten/key", "views.sql"),
        *(f"{table}.parquet" for table in TABLES),
    }


@pytest.mark.usefixtures("without_fsync")
def test_a_flipped_bit_is_told_or_does_no_harm(
    everything: dict[str, bytes], tmp_path: Path, without_timeline: Settings, staged_table: Build
) -> None:
    """For every file, at some positions. What the next run makes of it is seen in another test."""
    store = copy_to(str(tmp_path / "out"), everything)
    assert told(store) == []
    rng = random.Random(1)
    for path, data in everything.items():
        n_positions = 4 if path.startswith(NO_DATA) else 12
        for _ in range(n_positions):
            bit = rng.randrange(8 * len(data))
            store.write(path, flipped(data, bit))
            lines = told(store)
            assert path.startswith(NO_DATA) or any(path in line for line in lines), (path, bit)
        store.write(path, data)
    assert told(store) == []
