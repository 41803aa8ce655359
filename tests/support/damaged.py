"""Outputs that get damaged, and what a run of ``tag`` does to them, without audio."""

from collections import Counter

from pipelines.output.commit_log import CommitLog
from pipelines.output.erasure import finish_forgetting
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Entry
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.redoing import redo
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.output.views import write_views
from pipelines.storage.store import Store, open_store
from tests.support.outputs import MODEL, RUN, Build, tables

CLIPS = "abcdefgh"
"""What a run finds to tag."""


def flipped(data: bytes, bit: int) -> bytes:
    """The same with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def tag(store: Store, settings: Settings, build: Build, again: int | None = None) -> None:
    """What ``tag`` does to an output; what is not done is tagged with made-up rows."""
    open_output(store, settings)
    with Lock(open_store(store.root), MODEL, "next", beat_s=0.2, silence_s=0.1):
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
            entry = commit_log.commit(RUN, [stage(build(rows), store, MODEL)])
            assert entry is not None
            publish_here(entry)
    write_views(store)


def assert_all_there(store: Store, clips: str = CLIPS) -> None:
    """Each of the clips has all its rows, once, and no attempt is recorded twice."""
    found = tables(store)
    for table, n_rows in (("clips", 1), ("tags", 2), ("embeddings", 6)):
        assert Counter(row["clip_id"] for row in found[table]) == dict.fromkeys(clips, n_rows)
    failures = Counter((row["clip_id"], row["run_id"]) for row in found["failures"])
    assert set(failures.values()) <= {1}


def told(store: Store) -> list[str]:
    """All lines in which ``status --verify`` complains."""
    found = status(store, verify="bytes")
    lines = [line for model in found.models for line in model.broken]
    return [*found.broken, *lines, *found.unreadable]
