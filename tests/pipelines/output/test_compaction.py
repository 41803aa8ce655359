"""Merged entries hold what the small ones held, killed anywhere, whoever else is at work."""

import io
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.output import compaction, rewriting
from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish
from pipelines.output.rewriting import rewrite
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store
from tagger import schema
from tagger.errors import CommandError
from tests.support.mortal import Killed, kills, mortal
from tests.support.outputs import (
    MODEL,
    NIGHTS,
    RUN,
    VERSION_1,
    Build,
    add,
    assert_none_twice,
    assert_verified,
    commit,
    content,
    copy_to,
    counts,
    recover_all,
    s3_with_the_faults,
    tables,
)


@pytest.fixture
def store(out_url: str, settings: Settings) -> Store:
    opened = open_store(out_url)
    open_output(opened, settings)
    return opened


@pytest.fixture
def local(tmp_path: Path, settings: Settings) -> Store:
    opened = open_store(str(tmp_path / "out"))
    open_output(opened, settings)
    return opened


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all that is published had been for long."""
    monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)


def nights(store: Store, staged_table: Build, n: int = 4) -> None:
    """Publish some runs of a night each."""
    for day, rows in enumerate(NIGHTS[:n]):
        add(store, staged_table(rows), Run(f"r{day + 1}", f"2026-11-{20 + day}"))


def compact_all(store: Store) -> int:
    return compact(CommitLog(store, MODEL), Run("compact", "2026-12-01"))


def data_files(store: Store) -> list[str]:
    return [path for path in store.list("") if path.endswith(".parquet")]


@pytest.mark.usefixtures("settled")
def test_many_entries_become_one(store: Store, staged_table: Build) -> None:
    nights(store, staged_table)
    before, known = tables(store), CommitLog(store, MODEL)
    assert compact_all(store) == 0
    assert tables(store) == before
    assert_verified(store)
    assert store.list("_log") == [
        f"_log/{MODEL}/00000004.json",
        f"_log/{MODEL}/00000004.published",
    ]
    assert data_files(store) == [
        f"{table}/model={MODEL}/run_date=2026-11-23/00000004-0.parquet"
        for table in ("clips", "embeddings", "events", "failures", "tags", "timeline")
    ]
    fresh = CommitLog(store, MODEL)
    assert fresh.n_entries == 1
    assert sorted(fresh.tagged().to_pylist()) == ["a", "b", "c", "y"]
    assert fresh.failed().to_pylist() == known.failed().to_pylist()
    assert fresh.failed().to_pylist() == [
        {"clip_id": "x", "reason": "empty", "final": True, "run_id": "r2"}
    ]


@pytest.mark.usefixtures("settled")
def test_a_second_time_there_is_nothing_to_do(store: Store, staged_table: Build) -> None:
    nights(store, staged_table)
    compact_all(store)
    before = {path: store.read(path) for path in store.list("")}
    compact_all(store)
    assert {path: store.read(path) for path in store.list("")} == before


@pytest.mark.usefixtures("settled")
def test_what_comes_later_is_merged_with_what_was_merged(store: Store, staged_table: Build) -> None:
    nights(store, staged_table, 2)
    compact_all(store)
    for rows in NIGHTS[2:]:
        add(store, staged_table(rows))
    before = tables(store)
    assert CommitLog(store, MODEL).numbers() == [2, 3, 4]
    compact_all(store)
    assert CommitLog(store, MODEL).numbers() == [5]
    assert tables(store) == before
    assert_verified(store)
    assert CommitLog(store, MODEL).entry(5).replaces == ((0, 4),)


@s3_with_the_faults
@pytest.mark.usefixtures("without_fsync", "settled")
def test_killed_at_every_single_change(
    out_url: str, settings: Settings, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nights, of which two are merged already; when all files are settled, and when none is."""
    begun = open_store(f"{out_url}/begun")
    open_output(begun, settings)
    nights(begun, staged_table, 2)
    compact_all(begun)
    for rows in NIGHTS[2:]:
        add(begun, staged_table(rows))
    files, before = content(begun), tables(begun)
    for n in kills(out_url):
        store = copy_to(f"{out_url}/{n}", files)
        monkeypatch.setattr(rewriting, "SETTLED_S", 3600.0 if n % 2 else -1.0)
        try:
            compact_all(mortal(store, n))
            survived = True
        except Killed:
            survived = False
        assert_none_twice(store)
        (model,) = status(store, verify="bytes").models
        assert model.broken == (), n
        assert model.n_tagged == 4
        recover_all(store)
        assert tables(store) == before, n
        assert_verified(store)
        monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)
        compact_all(store)
        assert tables(store) == before, n
        assert_verified(store)
        assert len(data_files(store)) == len(schema.tables("float32")), n
        if survived:
            break
    assert n > 20


def test_young_files_are_emptied_and_go_later(
    store: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights(store, staged_table)
    before, old = tables(store), data_files(store)
    assert compact_all(store) == len(old)
    assert tables(store) == before
    assert set(old) < set(data_files(store))
    assert_verified(store)
    assert compact_all(store) == len(old)
    monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)
    assert compact_all(store) == 0
    assert len(data_files(store)) == len(schema.tables("float32"))
    assert tables(store) == before
    assert_verified(store)


class Slow:
    """A store that calls ``wake`` once, just before it does ``method`` on a path that matches."""

    def __new__(
        cls, store: Store, method: str, match: Callable[[str], bool], wake: Callable[[], object]
    ) -> Any:
        awake = []

        def slow(self: Any, path: Any, *arguments: Any) -> Any:
            if not awake and match(str(path)):
                awake.append(True)
                wake()
            return getattr(super(kind, self), method)(path, *arguments)

        kind: Any = type("Slow", (type(store),), {method: slow})
        return kind(store.root)


def test_a_publisher_that_slept_through_a_compaction(store: Store, staged_table: Build) -> None:
    """It goes on when its files were written, removed or emptied, and merged."""
    nights(store, staged_table, 2)
    entry = commit(store, staged_table(NIGHTS[3]))
    done = []

    def meanwhile() -> None:
        compact_all(store)
        done.append(tables(store))

    slow = Slow(store, "create", lambda path: path.startswith("tags/"), meanwhile)
    publish(slow, MODEL, entry)
    assert tables(store) == done[0]
    assert counts(store)["clips"] == {"a": 1, "b": 1, "c": 1, "y": 1}
    assert_verified(store)


@pytest.mark.usefixtures("settled")
def test_a_publisher_that_slept_between_two_files(store: Store, staged_table: Build) -> None:
    nights(store, staged_table, 2)
    entry = commit(store, staged_table(NIGHTS[3]))
    done = []

    class SleepsAfterTags(type(store)):  # type: ignore[misc]
        def create(self, path: str, data: bytes) -> bool:
            created = bool(super().create(path, data))
            if path.startswith("tags/"):
                compact_all(store)
                done.append(data_files(store))
            return created

    publish(SleepsAfterTags(store.root), MODEL, entry)
    assert [data_files(store)] == done
    assert_verified(store)


@pytest.mark.usefixtures("settled")
def test_a_publisher_that_looks_while_replaced_entries_are_removed(
    store: Store, staged_table: Build
) -> None:
    nights(store, staged_table, 2)
    entry = commit(store, staged_table(NIGHTS[3]))
    seen = []

    class Watched(type(store)):  # type: ignore[misc]
        def remove(self, paths: Iterable[str]) -> None:
            for path in paths:
                super().remove([path])
                if path.startswith("_log"):
                    publish(store, MODEL, entry)
                    seen.append(path)

    compact_all(Watched(store.root))
    assert len(seen) == 6
    assert_verified(store)
    assert counts(store)["clips"] == dict.fromkeys("abcy", 1)


@pytest.mark.usefixtures("settled")
def test_a_publisher_that_slept_before_it_looked(store: Store, staged_table: Build) -> None:
    entry = commit(store, staged_table(NIGHTS[3]))
    nights(store, staged_table, 2)
    compact_all(store)
    before = {path: store.read(path) for path in store.list("")}
    publish(store, MODEL, entry)
    assert {path: store.read(path) for path in store.list("")} == before


@pytest.mark.usefixtures("settled")
def test_a_driver_with_an_old_view_commits_after_a_compaction(
    store: Store, staged_table: Build
) -> None:
    """Its number is free again; it has staged a clip that was tagged meanwhile, and a new one."""
    nights(store, staged_table, 1)
    old = CommitLog(store, MODEL)
    for rows in NIGHTS[1:]:
        add(store, staged_table(rows))
    compact_all(store)
    assert not store.exists(f"_log/{MODEL}/00000001.json")
    files = [
        stage(staged_table([("b", None, "old"), ("new", None, "old")]), store, MODEL),
        stage(staged_table([("x", "timeout", "r1")]), store, MODEL),
    ]
    entry = old.commit(RUN, files)
    assert entry is not None
    assert (entry.number, entry.clip_ids) == (5, ("new",))
    assert store.exists(f"_log/{MODEL}/00000001.json"), "counts for nothing"
    assert CommitLog(store, MODEL).numbers() == [4, 5]
    assert status(store, verify="bytes").models[0].broken == ()
    publish(store, MODEL, entry)
    recover_all(store)
    assert not store.exists(f"_log/{MODEL}/00000001.json")
    assert counts(store)["clips"] == dict.fromkeys(["a", "b", "c", "y", "new"], 1)
    assert counts(store)["failures"] == {"x": 2, "y": 1}
    assert_verified(store)


@pytest.mark.usefixtures("settled")
def test_a_driver_that_has_read_what_was_published_and_merged_meanwhile(
    store: Store, staged_table: Build
) -> None:
    """A merged entry names the staged files too: a row in them that is void stays void."""
    nights(store, staged_table, 1)
    rows = [("b", "timeout", "r"), ("b", "timeout", "another"), ("new", None, "r")]
    file = stage(staged_table(rows), store, MODEL)

    def meanwhile() -> None:
        recover_all(store)
        compact_all(store)

    old = CommitLog(store, MODEL)
    old.store = Slow(store, "create", lambda path: path.startswith("_log"), meanwhile)
    assert old.commit(RUN, [file]) is None
    assert counts(store)["clips"] == {"a": 1, "new": 1}
    assert counts(store)["failures"] == {"x": 1, "b": 1}
    recover_all(store)
    assert_verified(store)


@pytest.mark.usefixtures("settled")
def test_a_driver_that_dies_with_a_dead_entry_loses_nothing(
    store: Store, staged_table: Build
) -> None:
    nights(store, staged_table, 1)
    old = CommitLog(store, MODEL)
    for rows in NIGHTS[1:]:
        add(store, staged_table(rows))
    compact_all(store)
    stage(staged_table([("new", None, "old")]), store, MODEL)

    class DiesAfterwards(type(store)):  # type: ignore[misc]
        def create(self, path: str, data: bytes) -> bool:
            assert super().create(path, data)
            raise Killed

    old.store = DiesAfterwards(store.root)
    with pytest.raises(Killed):
        old.commit(RUN, old.staged_leftovers()[1])
    assert store.exists(f"_log/{MODEL}/00000001.json")
    (model,) = status(store, verify="bytes").models
    assert (model.broken, model.n_tagged, model.n_staged) == ((), 4, 1)
    recover_all(store)
    assert counts(store)["clips"]["new"] == 1
    assert_verified(store)


@pytest.mark.parametrize("moment", ["_rewriting", "_log"])
def test_of_two_compactions_at_once_one_counts(
    store: Store, staged_table: Build, moment: str
) -> None:
    nights(store, staged_table)
    before = tables(store)
    slow = Slow(
        store,
        "write" if moment == "_rewriting" else "create",
        lambda path: path.startswith(moment),
        partial(compact_all, store),
    )
    compact_all(slow)
    assert tables(store) == before
    assert CommitLog(store, MODEL).n_entries == 1
    recover_all(store)
    assert_verified(store)


def test_two_that_swap_the_same_files(store: Store, staged_table: Build) -> None:
    """One sleeps before each of its steps, in turn, until another has done everything."""
    nights(store, staged_table)
    before = tables(store)
    commit_log = CommitLog(store, MODEL)
    entry = rewrite(commit_log, RUN, [commit_log.entry(n) for n in commit_log.numbers()])
    assert entry is not None
    slow = Slow(store, "create", lambda path: path.startswith("tags/"), lambda: recover_all(store))
    publish(slow, MODEL, entry)
    assert tables(store) == before
    assert_verified(store)


def test_files_of_a_compaction_that_died_are_removed_and_cannot_be_used(
    store: Store, staged_table: Build
) -> None:
    nights(store, staged_table)
    sleeping = CommitLog(store, MODEL)
    sources = [sleeping.entry(n) for n in sleeping.numbers()]

    def meanwhile() -> None:
        assert len(store.list("_rewriting")) == len(schema.tables("float32"))
        recover_all(store)
        assert store.list("_rewriting") == []

    sleeping.store = Slow(store, "create", lambda path: path.startswith("_log"), meanwhile)
    assert rewrite(sleeping, RUN, sources) is None
    assert sleeping.numbers() == [0, 1, 2, 3, 4]
    assert_verified(store)
    assert counts(store)["clips"] == dict.fromkeys("abcy", 1)


def test_a_job_that_starts_meanwhile_sees_a_whole_log(store: Store, staged_table: Build) -> None:
    """Entries are removed between its listing and its reading of them."""
    nights(store, staged_table)
    done = []
    slow = Slow(
        store,
        "read",
        lambda path: path.endswith("00000002.json"),
        lambda: done.append(compact_all(store)),
    )
    commit_log = CommitLog(slow, MODEL)
    assert done
    assert sorted(commit_log.tagged().to_pylist()) == ["a", "b", "c", "y"]
    assert commit_log.numbers() == [4]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("at", ["00000002.json", "00000002.published", "00000001-0.parquet"])
def test_a_verification_meanwhile_finds_nothing_wrong(
    store: Store, staged_table: Build, at: str
) -> None:
    nights(store, staged_table)
    done: list[int] = []
    slow = Slow(
        store,
        "read",
        lambda path: path.startswith(("_log", "tags")) and path.endswith(at),
        lambda: done.append(compact_all(store)),
    )
    (model,) = status(slow, verify="bytes").models
    assert done
    assert model.broken == ()


@pytest.mark.usefixtures("settled")
def test_large_entries_are_left_alone(
    local: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MERGED_CLIPS", 4)
    batches = ["ab", "c", "defg", "h", "i", "jk", "l"]
    for batch in batches:
        add(local, staged_table([(clip, None, "r") for clip in batch]))
    compact_all(local)
    commit_log = CommitLog(local, MODEL)
    found = ["".join(commit_log.entry(n).clip_ids) for n in commit_log.numbers()]
    assert found == ["abc", "defg", "hijk", "l"]
    before = local.list("")
    compact_all(local)
    assert local.list("") == before
    assert_verified(local)


@pytest.mark.usefixtures("settled", "without_fsync")
def test_entries_that_fill_one_exactly_become_one(
    local: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MERGED_CLIPS", 25)
    for clip in "abcdefghijklmnopqrstuvwxy":
        add(local, staged_table([(clip, None, "r")]))
    compact_all(local)
    assert CommitLog(local, MODEL).n_entries == 1
    assert_verified(local)


@pytest.mark.usefixtures("settled")
def test_files_are_cut_at_their_size(
    local: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "FILE_BYTES", 1)
    monkeypatch.setattr("pipelines.output.parquet_files.ROW_GROUP_ROWS", 4)
    nights(local, staged_table)
    before = tables(local)
    compact_all(local)
    assert tables(local) == before
    assert_verified(local)
    assert len(local.list("embeddings")) == 6
    rows = [pq.read_metadata(io.BytesIO(local.read(p))).num_rows for p in local.list("embeddings")]
    assert rows == [4] * 6


@pytest.mark.usefixtures("settled")
def test_an_output_of_version_1(tmp_path: Path) -> None:
    store = open_store(str(shutil.copytree(VERSION_1, tmp_path / "out")))
    (model_id,) = {path.split("/")[1] for path in store.list("_log")}
    before = tables(store)
    compact(CommitLog(store, model_id), RUN)
    assert tables(store) == before
    assert_verified(store)


def test_missing_tables_are_told_before_anything_is_done(store: Store, staged_table: Build) -> None:
    nights(store, staged_table)
    store.remove(store.list("tags")[:1])
    before = store.list("")
    with pytest.raises(CommandError, match="1 table files"):
        compact_all(store)
    assert store.list("") == before


def test_an_entry_that_cannot_be_swapped_is_told(store: Store, staged_table: Build) -> None:
    nights(store, staged_table)
    commit_log = CommitLog(store, MODEL)
    entry = rewrite(commit_log, RUN, [commit_log.entry(0), commit_log.entry(1)])
    assert entry is not None
    path = store.list("_rewriting")[0]
    store.remove([path])
    before = tables(store)
    (model,) = status(store, verify="bytes").models
    assert model.broken == (f"entry 4, which waits to be published: {path} is missing",)
    with pytest.raises(CommandError, match="entry 4"):
        recover_all(store)
    assert tables(store) == before, "nothing is taken away that cannot be replaced"


def test_entries_are_read_as_they_were_written(local: Store, staged_table: Build) -> None:
    nights(local, staged_table)
    commit_log = CommitLog(local, MODEL)
    entry = rewrite(commit_log, RUN, [commit_log.entry(0), commit_log.entry(1)])
    assert entry is not None
    assert Entry.from_json(entry.to_json()) == entry
    assert entry.first == 0
    assert commit_log.numbers() == [4, 2, 3]
    plain = commit_log.entry(2)
    assert b"replaces" not in plain.to_json()
    assert Entry.from_json(plain.to_json()) == plain
