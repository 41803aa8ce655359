"""Each clip counts once: races, zombies, and any order of staging, committing and publishing."""

import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Failed, Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.storage.store import Store, open_store
from tagger import schema
from tagger.errors import CommandError

MODEL = "m-1"
RUN = Run("run-1", "2026-11-22")
Build = Callable[..., pa.Table]
ReadTable = Callable[[Store, str], pa.Table]


@pytest.fixture
def store(out_url: str, settings: Settings) -> Store:
    store = open_store(out_url)
    open_output(store, settings)
    return store


@pytest.fixture
def local_store(tmp_path: Any, settings: Settings) -> Store:
    store = open_store(str(tmp_path / "out"))
    open_output(store, settings)
    return store


def column(table: pa.Table, name: str = "clip_id") -> list[Any]:
    return table[name].to_pylist()


def test_commit_takes_the_first_tagged_row(store: Store, staged_table: Build) -> None:
    first = stage(
        staged_table([("a", None, "r"), ("b", "timeout", "r"), ("a", None, "r")]), store, MODEL
    )
    second = stage(
        staged_table([("b", None, "r"), ("a", None, "r"), ("c", "empty", "r")]), store, MODEL
    )
    commit_log = CommitLog(store, MODEL)
    entry = commit_log.commit(RUN, [first, second])
    assert entry is not None
    assert [(s.file, s.rows) for s in entry.staged] == [(first, (0,)), (second, (0, 2))]
    assert sorted(entry.clip_ids) == ["a", "b"]
    assert entry.failed == (Failed("c", "empty", True, "r"),)
    assert set(entry.outputs) == set(schema.tables("float32"))
    assert Entry.from_json(entry.to_json()) == entry
    again = CommitLog(store, MODEL)
    assert again.n_entries == 1
    assert sorted(again.tagged().to_pylist()) == ["a", "b"]
    assert again.failed().to_pylist() == commit_log.failed().to_pylist()
    assert again.failed().to_pylist() == [
        {"clip_id": "c", "reason": "empty", "final": True, "run_id": "r"}
    ]


def test_a_failure_is_an_attempt_per_run_until_tagged(
    local_store: Store, staged_table: Build, read_table: ReadTable
) -> None:
    commit_log = CommitLog(local_store, MODEL)
    attempts = [
        ("timeout", "r1"),
        ("timeout", "r1"),
        ("empty", "r2"),
        (None, "r3"),
        ("empty", "r4"),
    ]
    committed = []
    for reason, run_id in attempts:
        name = stage(staged_table([("a", reason, run_id)]), local_store, MODEL)
        entry = commit_log.commit(RUN, [name])
        committed.append(entry is not None)
        if entry:
            publish(local_store, MODEL, entry)
        if run_id == "r2":
            assert commit_log.failed()["reason"].to_pylist() == ["empty"]
    assert committed == [True, False, True, True, False]
    assert commit_log.failed().num_rows == 0
    assert column(read_table(local_store, "failures"), "run_id") == ["r1", "r2"]
    assert column(read_table(local_store, "clips")) == ["a"]
    assert local_store.list("_staging") == []


def test_two_drivers_race_for_the_same_staged_files(
    store: Store, staged_table: Build, read_table: ReadTable
) -> None:
    for round_ in range(3):
        clips = [f"{round_}-{i}" for i in range(12)]
        files = [
            stage(staged_table([(c, None, "r") for c in clips[i : i + 4]]), store, MODEL)
            for i in (0, 2, 4, 6, 8)
        ]
        start = threading.Barrier(2)

        def drive(files: list[str], start: threading.Barrier, store: Store) -> None:
            commit_log = CommitLog(store, MODEL)
            start.wait()
            for pair in (files[:2], files[2:4], files[4:]):
                entry = commit_log.commit(RUN, pair)
                if entry is not None:
                    publish(store, MODEL, entry)

        drivers = [(files, start), (files[::-1], start)]
        with ThreadPoolExecutor(2) as pool:
            for result in [pool.submit(drive, *d, open_store(store.root)) for d in drivers]:
                result.result()
        recover(CommitLog(store, MODEL), RUN, partial(publish, store, MODEL))
        found = [c for c in column(read_table(store, "clips")) if c.startswith(f"{round_}-")]
        assert sorted(found) == sorted(clips)
    assert store.list("_staging") == []
    assert len(column(read_table(store, "tags"))) == 2 * 36


def intercept(store: Store, method: str, what: Callable[[str], bool], do: Callable[[], Any]) -> Any:
    """Give the store, made to call ``do`` once, just before ``method`` of a path."""

    class Interrupted(type(store)):  # type: ignore[misc]
        done = False

        def _before(self, path: str) -> None:
            if not self.done and what(path):
                self.done = True
                do()

    def wrapped(self: Any, path: str, *args: Any) -> Any:
        self._before(path)
        return getattr(super(Interrupted, self), method)(path, *args)

    setattr(Interrupted, method, wrapped)
    return Interrupted(store.root)


@pytest.mark.parametrize("method", ["create", "read"])
def test_zombie_driver_wakes_when_all_is_done(
    store: Store, staged_table: Build, read_table: ReadTable, method: str
) -> None:
    """Its staged files are committed, published and removed before it reads or commits them."""
    rows = [("a", None, "r"), ("b", "timeout", "r"), ("b", "timeout", "other"), ("c", "empty", "x")]
    files = [stage(staged_table([row]), store, MODEL) for row in rows]

    def the_other_driver() -> None:
        recover(CommitLog(store, MODEL), Run("run-2", "2026-11-23"), partial(publish, store, MODEL))
        assert store.list("_staging") == []

    folder = "_log" if method == "create" else "_staging"
    slow = intercept(store, method, lambda path: path.startswith(folder), the_other_driver)
    zombie = CommitLog(slow, MODEL)
    assert zombie.commit(RUN, files) is None
    assert slow.done
    late = stage(staged_table([("d", None, "r"), ("a", None, "r")]), store, MODEL)
    entry = zombie.commit(RUN, [*files, late])
    assert entry is not None and entry.number == 1 and entry.clip_ids == ("d",)
    publish(store, MODEL, entry)
    assert sorted(column(read_table(store, "clips"))) == ["a", "d"]
    assert sorted(column(read_table(store, "failures"))) == ["b", "c"]


def test_a_staged_file_that_comes_back_is_removed(
    local_store: Store, staged_table: Build, read_table: ReadTable
) -> None:
    """The repetition of an upload whose answer was lost, after the file was published."""
    name = stage(staged_table([("a", None, "r"), ("b", "timeout", "r")]), local_store, MODEL)
    path = f"_staging/{MODEL}/{name}"
    data = local_store.read(path)
    commit_log = CommitLog(local_store, MODEL)
    assert len(recover(commit_log, RUN, partial(publish, local_store, MODEL))) == 1
    local_store.write(path, data)
    assert recover(commit_log, RUN, partial(publish, local_store, MODEL)) == []
    assert local_store.list("_staging") == []
    assert column(read_table(local_store, "clips")) == ["a"]


def test_a_log_with_a_gap_is_refused(local_store: Store, staged_table: Build) -> None:
    commit_log = CommitLog(local_store, MODEL)
    for clip in "ab":
        commit_log.commit(RUN, [stage(staged_table([(clip, None, "r")]), local_store, MODEL)])
    local_store.remove([f"_log/{MODEL}/00000000.json"])
    with pytest.raises(CommandError, match=r"00000000\.json is missing: .*rebuild-log"):
        CommitLog(local_store, MODEL)


def test_large_commits_are_published_in_parts(
    local_store: Store, staged_table: Build, read_table: ReadTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.output.staging.PART_BYTES", 1)
    files = [
        stage(staged_table(rows), local_store, MODEL)
        for rows in ([("a", None, "r")], [("b", "empty", "r")], [("c", None, "r")])
    ]
    entry = CommitLog(local_store, MODEL).commit(RUN, files)
    assert entry is not None
    publish(local_store, MODEL, entry)
    folder = f"clips/model={MODEL}/run_date=2026-11-22"
    assert local_store.list("clips") == [
        f"{folder}/00000000-0.parquet",
        f"{folder}/00000000-2.parquet",
    ]
    assert sorted(column(read_table(local_store, "clips"))) == ["a", "c"]
    assert column(read_table(local_store, "failures")) == ["b"]


# A model of it all in plain Python, and random histories of two drivers that know the log at
# different times.

CLIPS = st.sampled_from("abcdef")
ROW = st.tuples(CLIPS, st.sampled_from([None, None, "timeout", "empty"]), st.sampled_from("rs"))
STAGE = st.tuples(st.just("stage"), st.lists(ROW, min_size=1, max_size=5))
DRIVER = st.integers(0, 1)
COMMIT = st.tuples(st.just("commit"), DRIVER, st.lists(st.integers(0, 9), min_size=1, max_size=4))
PUBLISH = st.tuples(st.just("publish"), st.integers(0, 9))
RECOVER = st.tuples(st.just("recover"), DRIVER)


@dataclass
class Model:
    """What must count: (file, row) by clip, and of failures by clip and run."""

    files: dict[str, list[tuple[str, str | None, str]]] = field(default_factory=dict)
    considered: set[str] = field(default_factory=set)
    tagged: dict[str, tuple[str, str]] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)

    def commit(self, names: list[str]) -> None:
        names = [name for name in dict.fromkeys(names) if name not in self.considered]
        rows = [(name, *row) for name in names for row in self.files[name]]
        rows = [row for row in rows if row[1] not in self.tagged]
        before = dict(self.failed)
        tagged_now: set[str] = set()
        for name, clip, reason, run_id in rows:
            if reason is None and clip not in tagged_now:
                tagged_now.add(clip)
                self.tagged[clip] = (name, run_id)
        tried: set[str] = set()
        for name, clip, reason, run_id in rows:
            void = clip in self.tagged or clip in tried or (clip, run_id) in before
            if reason is not None and not void:
                tried.add(clip)
                self.failed[clip, run_id] = name
        self.considered.update(names)


@given(history=st.lists(st.one_of(STAGE, STAGE, COMMIT, PUBLISH, RECOVER), max_size=14))
@hypothesis_settings(max_examples=60, deadline=None)
def test_any_history_counts_each_clip_once(
    history: list[Any], staged_table: Build, read_table: ReadTable, settings: Settings
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        open_output(store, settings)
        model = Model()
        drivers = [CommitLog(store, MODEL), CommitLog(store, MODEL)]
        entries: list[Entry] = []
        for kind, *args in history:
            if kind == "stage":
                (rows,) = args
                note = f"file-{len(model.files)}"
                name = stage(staged_table(rows, note), store, MODEL)
                model.files[name] = rows
            elif kind == "commit" and model.files:
                driver, picks = args
                names = [list(model.files)[i % len(model.files)] for i in picks]
                model.commit(names)
                entry = drivers[driver].commit(RUN, names)
                entries += [entry] if entry else []
            elif kind == "publish" and entries:
                publish(store, MODEL, entries[args[0] % len(entries)])
            elif kind == "recover":
                recover(drivers[args[0]], RUN, partial(publish, store, MODEL))
                model.commit(sorted(model.files))
        recover(drivers[0], RUN, partial(publish, store, MODEL))
        model.commit(sorted(model.files))
        check(store, model, read_table)
        before = {path: store.read(path) for path in store.list("")}
        assert recover(CommitLog(store, MODEL), RUN, partial(publish, store, MODEL)) == []
        assert {path: store.read(path) for path in store.list("")} == before


def check(store: Store, model: Model, read_table: ReadTable) -> None:
    notes = {name: f"file-{i}" for i, name in enumerate(model.files)}
    clips = read_table(store, "clips")
    found = dict(zip(column(clips), column(clips, "extra"), strict=True))
    assert len(found) == clips.num_rows
    assert found == {clip: notes[name] for clip, (name, _) in model.tagged.items()}
    assert Counter(column(read_table(store, "tags"))) == dict.fromkeys(model.tagged, 2)
    assert Counter(column(read_table(store, "embeddings"))) == dict.fromkeys(model.tagged, 6)
    assert Counter(column(read_table(store, "timeline"))) == dict.fromkeys(model.tagged, 1)
    failures = read_table(store, "failures")
    attempts = [(row["clip_id"], row["run_id"], row["detail"]) for row in failures.to_pylist()]
    assert sorted(attempts) == sorted((*key, notes[name]) for key, name in model.failed.items())
    commit_log = CommitLog(store, MODEL)
    assert sorted(commit_log.tagged().to_pylist()) == sorted(model.tagged)
    open_ones = {clip for clip, _ in model.failed} - set(model.tagged)
    assert sorted(column(commit_log.failed())) == sorted(open_ones)
    assert store.list("_staging") == []
