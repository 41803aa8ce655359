"""Any history of drivers, publishers, compactions and forgetting, with kills in between.

A driver may know an old state of the log, a publisher may bring an entry that was published, merged
or rewritten long ago, and whatever rewrites may be killed at any change. All the while a reader of
plain globs sees no clip twice. In the end all is there that was tagged, but for what was forgotten.
"""

import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.erasure import erase_pending
from pipelines.output.forgotten import bury, lift
from pipelines.output.log_entry import Entry, Run
from pipelines.output.markers import mark, read_marker
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.rewriting import rewrite
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.storage.store import Store, open_store
from tests.support.mortal import Killed, mortal
from tests.support.outputs import (
    MODEL,
    RUN,
    Build,
    assert_verified,
    files_that_hold,
    recover_all,
    tables,
)

CLIP = st.sampled_from("abcdef")
ROW = st.tuples(CLIP, st.sampled_from([None, None, "timeout", "empty"]), st.sampled_from("rs"))
DRIVER = st.integers(0, 1)
PICK = st.integers(0, 9)
KILL = st.one_of(st.none(), st.integers(0, 40))
STEP = st.one_of(
    st.tuples(st.just("stage"), st.lists(ROW, min_size=1, max_size=4)),
    st.tuples(st.just("stage"), st.lists(ROW, min_size=1, max_size=4)),
    st.tuples(st.just("commit"), DRIVER, st.lists(PICK, min_size=1, max_size=3)),
    st.tuples(st.just("publish"), PICK),
    st.tuples(st.just("recover"), DRIVER, KILL),
    st.tuples(st.just("compact"), KILL),
    st.tuples(st.just("rewrite"), DRIVER),
    st.tuples(st.just("forget"), CLIP, KILL),
    st.tuples(st.just("lift"), CLIP),
)


@dataclass
class History:
    """An output, who works on it, and what must be in it in the end."""

    store: Store
    drivers: list[CommitLog]
    files: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    tagged: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)
    maybe: set[str] = field(default_factory=set)  # tagged, forgotten, and not forgotten any more
    forgotten: set[str] = field(default_factory=set)
    n_runs: int = 0

    def stage(self, table, rows) -> None:  # type: ignore[no-untyped-def]
        self.files.append(stage(table(rows), self.store, MODEL))
        clips = {clip for clip, reason, _ in rows if reason is None} - self.forgotten
        self.tagged |= clips
        self.tried |= {clip for clip, *_ in rows} - self.forgotten

    def commit(self, driver: int, picks: list[int]) -> None:
        names = [self.files[pick % len(self.files)] for pick in picks if self.files]
        entry = self.drivers[driver].commit(RUN, names)
        self.entries += [entry] if entry else []

    def publish(self, pick: int) -> None:
        if self.entries:
            publish(self.store, MODEL, self.entries[pick % len(self.entries)])

    def recover(self, driver: int, kill: int | None) -> None:
        commit_log = self.drivers[driver]
        store = self.store if kill is None else mortal(self.store, kill)
        commit_log.store = store
        with suppress(Killed):
            self.entries += recover(commit_log, RUN, partial(publish, store, MODEL))
        self.drivers[driver] = CommitLog(self.store, MODEL) if kill is not None else commit_log

    def compact(self, kill: int | None) -> None:
        store = self.store if kill is None else mortal(self.store, kill)
        with suppress(Killed):
            compact(CommitLog(store, MODEL), RUN)

    def rewrite(self, driver: int) -> None:
        """Merge all that a driver knows, if it is published; leave it to somebody to complete."""
        commit_log = self.drivers[driver]
        numbers = commit_log.numbers()
        if all(read_marker(self.store, MODEL, number) for number in numbers) and numbers:
            with suppress(FileNotFoundError):  # its view is too old
                entry = rewrite(commit_log, RUN, [commit_log.entry(n) for n in numbers])
                self.entries += [entry] if entry else []

    def forget(self, clip: str, kill: int | None) -> None:
        self.n_runs += 1
        run = Run(f"forget-{self.n_runs}", "2026-12-01")
        store = self.store if kill is None else mortal(self.store, kill)
        with suppress(Killed):
            bury(store, run.run_id, [f"file:///{clip}"])
            erase_pending(store, run)
        if self.store.exists(f"_forgotten/{run.run_id}.json"):
            self.forgotten.add(clip)
            for clips in (self.tagged, self.tried, self.maybe):
                clips.discard(clip)

    def lift(self, clip: str) -> None:
        erase_pending(self.store, RUN)
        lift(self.store, [f"file:///{clip}"])
        self.maybe |= {clip} & self.forgotten
        self.forgotten.discard(clip)

    def check_meanwhile(self) -> None:
        seen = tables(self.store)
        clips = Counter(row["clip_id"] for row in seen["clips"])
        assert set(clips.values()) <= {1}
        tags = Counter(row["clip_id"] for row in seen["tags"])
        assert set(tags.values()) <= {2}
        assert set(clips) <= set(tags)
        attempts = Counter((row["clip_id"], row["run_id"]) for row in seen["failures"])
        assert set(attempts.values()) <= {1}

    def check_in_the_end(self) -> None:
        erase_pending(self.store, RUN)
        recover_all(self.store)
        self.check_meanwhile()
        assert_verified(self.store)
        seen = tables(self.store)
        clips = {row["clip_id"] for row in seen["clips"]}
        assert self.tagged <= clips <= self.tagged | self.maybe
        failed = {row["clip_id"] for row in seen["failures"]}
        assert self.tried - clips <= failed
        assert not (clips | failed) & self.forgotten
        erased = [f"file:///{clip}" for clip in self.forgotten]
        assert not erased or files_that_hold(self.store, *erased) == []


@given(history=st.lists(STEP, max_size=16), settled_s=st.sampled_from([-1.0, 3600.0]))
@example(
    history=[
        ("stage", [("a", None, "r")]),
        ("commit", 1, [0]),
        ("compact", None),
        ("stage", [("a", None, "r")]),
        ("commit", 0, [1]),  # under the number of the entry that was merged: it counts for nothing
        ("publish", 0),  # that of the merged entry, late
    ],
    settled_s=-1.0,
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_any_history(
    history: list[tuple],  # type: ignore[type-arg]
    settled_s: float,
    staged_table: Build,
    settings: Settings,
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        patch("os.fsync"),
        patch("pipelines.output.rewriting.SETTLED_S", settled_s),
    ):
        store = open_store(folder)
        open_output(store, replace(settings, tables=("tags", "failures", "clips")))
        mark(store, MODEL, CommitLog(store, MODEL).fence(RUN).number, {})
        drivers = [CommitLog(store, MODEL), CommitLog(store, MODEL)]
        told = History(store, drivers)
        for step, *arguments in history:
            if step == "stage":
                told.stage(staged_table, *arguments)
            else:
                getattr(told, step)(*arguments)
            told.check_meanwhile()
        told.check_in_the_end()
