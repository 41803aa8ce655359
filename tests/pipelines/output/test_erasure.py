"""Forgotten recordings are gone from every byte, and stay gone; nothing else is lost."""

import io
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.output import rewriting
from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.erasure import erase_pending, finish_forgetting, locked, retire
from pipelines.output.forgotten import Forgotten, bury, lift
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_tables
from pipelines.output.run_records import RunRecord
from pipelines.output.settings import Settings, open_output, read_settings
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError
from tests.support.mortal import Killed, kills, mortal
from tests.support.outputs import (
    MODEL,
    RUN,
    WHOLE,
    Build,
    add,
    assert_none_twice,
    assert_verified,
    commit,
    content,
    copy_to,
    counts,
    files_that_hold,
    recover_all,
    s3_with_the_faults,
)

OTHER = "m-2"
ROWS = [("keep-1", None, "r"), ("secret-x", None, "r"), ("keep-2", "timeout", "r")]
ERASED = "file:///secret-x"


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


def fill(store: Store, staged_table: Build) -> None:
    """Two models; the recording tagged, failed, committed, staged, and in a run's record."""
    add(store, staged_table(ROWS))
    commit(store, staged_table([("keep-4", None, "r"), ("secret-y", "empty", "r")]))
    stage(staged_table([("secret-y", None, "r9"), ("keep-5", None, "r9")]), store, MODEL)
    add(store, staged_table(ROWS[:2]), model_id=OTHER)
    inputs = ["file:///secret-x", "/secret-x", "/secret-xylophone", "a file:///secret-y."]
    RunRecord("r", ["tag", *inputs], {"inputs": inputs}, MODEL, error=f"at {inputs}").write(store)


URIS = ("file:///secret-x", "file:///secret-y")
KEPT = {MODEL: ["keep-1", "keep-4", "keep-5"], OTHER: ["keep-1"]}


def forget(store: Store, *uris: str, run_id: str = "forget-1") -> int:
    """What the job does, without locks."""
    bury(store, run_id, uris)
    return erase_pending(store, Run(run_id, "2026-12-01"))


def clips_of(store: Store, model_id: str) -> list[str]:
    """The clips that a reader finds for a model."""
    files = [
        pq.read_table(io.BytesIO(store.read(p))) for p in store.list(f"clips/model={model_id}")
    ]
    return [clip for file in files for clip in file["clip_id"].to_pylist()]


def assert_forgotten(store: Store) -> None:
    assert files_that_hold(store, *URIS, 'secret-x"', "secret-x'", "secret-y") == []
    for model_id, clips in KEPT.items():
        assert sorted(CommitLog(store, model_id).tagged().to_pylist()) == clips
    found = counts(store)
    assert found["clips"] == {"keep-1": 2, "keep-4": 1, "keep-5": 1}
    assert found["failures"] == {"keep-2": 1}
    for name in read_settings(store).tables:
        n_rows = WHOLE.get(name)
        if n_rows:
            assert found[name] == {clip: n * n_rows for clip, n in found["clips"].items()}
    record = json.loads(store.read("_runs/r.json"))
    erased = ["(forgotten)", "(forgotten)", "/secret-xylophone", "a (forgotten)."]
    assert record["config"]["inputs"] == erased
    assert record["command"] == ["tag", *erased]
    assert "secret-x'" not in record["error"]
    assert_verified(store)


@pytest.mark.parametrize("settled_s", [-1.0, 3600.0])
def test_nothing_of_it_is_left(
    store: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch, settled_s: float
) -> None:
    monkeypatch.setattr(rewriting, "SETTLED_S", settled_s)
    fill(store, staged_table)
    assert files_that_hold(store, *URIS)
    assert forget(store, *URIS) == 3
    assert_forgotten(store)
    before = store.list("")
    assert erase_pending(store, RUN) == 0
    assert store.list("") == before


@s3_with_the_faults
@pytest.mark.usefixtures("without_fsync")
def test_killed_at_every_single_change(
    out_url: str, settings: Settings, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next command completes it, be it ``tag``, ``compact``, or ``forget``."""
    begun = open_store(f"{out_url}/begun")
    open_output(begun, replace(settings, tables=("tags", "failures", "clips")))
    fill(begun, staged_table)
    files = content(begun)
    for n in kills(out_url):
        store = copy_to(f"{out_url}/{n}", files)
        monkeypatch.setattr(rewriting, "SETTLED_S", -1.0 if n % 2 else 3600.0)
        try:
            forget(mortal(store, n), *URIS)
            survived = True
        except Killed:
            survived = False
        found = status(store, verify="bytes")
        assert all(model.broken == () for model in found.models), n
        for model_id in (MODEL, OTHER):
            seen = clips_of(store, model_id)
            assert len(seen) == len(set(seen)), n
        if not store.list("_forgotten")[1:]:
            forget(store, *URIS)  # it was not begun
        elif n % 3:
            assert found.n_to_erase == (0 if survived else 2)
            with Lock(store, MODEL, "r"):
                finish_forgetting(store, RUN, held=MODEL)
        else:
            erase_pending(store, RUN)
        assert_forgotten(store)
        if survived:
            break
    assert n > 40


def test_attempts_of_other_runs_go_too(store: Store, staged_table: Build) -> None:
    add(store, staged_table([("secret-x", "timeout", "r0"), ("keep-1", None, "r0")]))
    add(store, staged_table([("secret-x", None, "r"), ("keep-2", None, "r")]))
    assert forget(store, ERASED) == 2
    assert counts(store)["clips"] == {"keep-1": 1, "keep-2": 1}
    assert files_that_hold(store, "secret-x") == []
    assert_verified(store)


def test_it_stays_away(store: Store, staged_table: Build) -> None:
    """From a new model too, and when a worker stages it after it was forgotten."""
    fill(store, staged_table)
    forget(store, *URIS)
    for model_id in (MODEL, OTHER, "m-3"):
        stage(staged_table([("secret-x", None, "z"), ("new", None, "z")]), store, model_id)
        stage(staged_table([("secret-y", "timeout", "z")]), store, model_id)
        recover_all(store, model_id)
        assert sorted(CommitLog(store, model_id).tagged().to_pylist()) == sorted(
            [*KEPT.get(model_id, []), "new"]
        )
    assert files_that_hold(store, *URIS) == []
    assert_verified(store)


def test_a_driver_that_does_not_know_of_it(store: Store, staged_table: Build) -> None:
    """It has read its staged file, and all entries, before the recording was forgotten."""
    add(store, staged_table([("keep-1", None, "r")]))
    driver = CommitLog(store, MODEL)
    file = stage(staged_table([("secret-x", None, "r"), ("new", None, "r")]), store, MODEL)
    keep = store.read(f"_staging/{MODEL}/{file}")
    woken = []

    class Slow(type(store)):  # type: ignore[misc]
        def create(self, path: str, data: bytes) -> bool:
            if not woken:
                woken.append(True)
                store.remove([f"_staging/{MODEL}/{file}"])  # the other one does not see it
                assert forget(store, ERASED) == 0
                store.write(f"_staging/{MODEL}/{file}", keep)
            return bool(super().create(path, data))

    driver.store = Slow(store.root)
    entry = driver.commit(RUN, [file])
    assert woken
    assert entry is not None and entry.clip_ids == ("new",)
    publish(store, MODEL, entry)
    assert counts(store)["clips"] == {"keep-1": 1, "new": 1}
    assert files_that_hold(store, ERASED) == []
    assert_verified(store)


def test_a_publisher_that_slept_brings_nothing_back(store: Store, staged_table: Build) -> None:
    entry = commit(store, staged_table(ROWS))
    woken = []

    class Slow(type(store)):  # type: ignore[misc]
        def create(self, path: str, data: bytes) -> bool:
            if not woken and path.startswith("clips"):
                woken.append(True)
                assert forget(store, ERASED) == 1
            return bool(super().create(path, data))

    publish(Slow(store.root), MODEL, entry)
    assert woken
    assert counts(store)["clips"] == {"keep-1": 1}
    assert files_that_hold(store, ERASED) == []
    assert_verified(store)


def test_after_a_compaction(store: Store, staged_table: Build) -> None:
    fill(store, staged_table)
    compact(CommitLog(store, MODEL), RUN)
    assert forget(store, *URIS) == 4
    assert_forgotten(store)
    for model_id in (MODEL, OTHER):
        compact(CommitLog(store, model_id), RUN)
    assert_forgotten(store)


def test_lifted_it_is_tagged_again(store: Store, staged_table: Build) -> None:
    fill(store, staged_table)
    forget(store, *URIS)
    assert lift(store, ["file:///secret-x", "file:///unknown"]) == 1
    stage(staged_table([("secret-x", None, "z"), ("secret-y", None, "z")]), store, MODEL)
    recover_all(store)
    assert counts(store)["clips"]["secret-x"] == 1
    assert files_that_hold(store, "secret-y") == []
    assert lift(store, ["file:///secret-y"]) == 1
    assert store.list("_forgotten") == ["_forgotten/key"]


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What the module tells, whatever is set up for standard error."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pipelines.output.erasure")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def test_another_job_at_work(store: Store, staged_table: Build, told: list[str]) -> None:
    """A ``tag`` of one model leaves it to a later command when another model is being written."""
    fill(store, staged_table)
    bury(store, "forget-1", URIS)
    with Lock(store, MODEL, "r"):
        with Lock(store, OTHER, "busy", beat_s=0.2):
            finish_forgetting(store, RUN, held=MODEL)
        assert "wait for another time" in told[0] and "busy" in told[0]
        assert Forgotten.read(store).pending == URIS
        finish_forgetting(store, RUN, held=MODEL)
    assert_forgotten(store)
    assert store.list("_lock") == []


def test_all_models_are_locked(store: Store, staged_table: Build) -> None:
    fill(store, staged_table)
    with locked(store, RUN):
        assert store.list("_lock") == [f"_lock/{MODEL}.json", f"_lock/{OTHER}.json"]
    assert store.list("_lock") == []


def test_a_half_written_file_goes_too(local: Store, staged_table: Build) -> None:
    fill(local, staged_table)
    left = Path(local.root, "_tmp", "left")
    left.write_bytes(b"file:///secret-x")
    long_ago = left.stat().st_mtime - 120
    os.utime(left, (long_ago, long_ago))
    forget(local, *URIS)
    assert_forgotten(local)
    assert not left.exists()


def test_retired_a_model_tags_anew(store: Store, staged_table: Build) -> None:
    fill(store, staged_table)
    other = {path: store.read(path) for path in store.list(f"clips/model={OTHER}")}
    with Lock(store, MODEL, "r"):
        retire(CommitLog(store, MODEL), RUN)
    assert store.list(f"_staging/{MODEL}") == store.list("_lock") == []
    assert [model.model_id for model in status(store, verify="bytes").models] == [OTHER]
    assert_verified(store)
    assert {path: store.read(path) for path in store.list(f"clips/model={OTHER}")} == other
    assert counts(store)["clips"] == {"keep-1": 1, "secret-x": 1}
    commit_log = CommitLog(store, MODEL)
    assert len(commit_log.tagged()) == len(commit_log.failed()) == 0
    require_tables(commit_log)
    add(store, staged_table([("keep-1", None, "again")]))
    assert CommitLog(store, MODEL).tagged().to_pylist() == ["keep-1"]
    assert_verified(store)


@s3_with_the_faults
@pytest.mark.usefixtures("without_fsync")
def test_retirement_killed_at_every_single_change(
    out_url: str, settings: Settings, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = open_store(f"{out_url}/begun")
    open_output(begun, settings)
    add(begun, staged_table(ROWS))
    commit(begun, staged_table([("keep-4", None, "r")]))
    stage(staged_table([("keep-5", None, "r9")]), begun, MODEL)
    files = content(begun)
    for n in kills(out_url):
        store = copy_to(f"{out_url}/{n}", files)
        monkeypatch.setattr(rewriting, "SETTLED_S", -1.0 if n % 2 else 3600.0)
        try:
            retire(CommitLog(mortal(store, n), MODEL), RUN)
            survived = True
        except Killed:
            survived = False
        assert_none_twice(store)
        assert all(model.broken == () for model in status(store, verify="bytes").models), n
        recover_all(store)
        assert_verified(store)
        commit_log = CommitLog(store, MODEL)
        is_begun = any(commit_log.entry(number).replaces for number in commit_log.numbers())
        clips = {} if is_begun else dict.fromkeys(["keep-1", "keep-4", "keep-5", "secret-x"], 1)
        assert counts(store)["clips"] == clips, n
        if survived:
            break
    assert n > 8


def test_a_model_whose_tables_were_removed_by_hand(
    local: Store, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, in a line that says how to mend it; and so it is mended."""
    monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)
    fill(local, staged_table)
    recover_all(local)
    for path in local.list(f"clips/model={MODEL}"):
        local.remove([path])
    commit_log = CommitLog(local, MODEL)
    with pytest.raises(CommandError) as told:
        require_tables(commit_log)
    assert "\n" not in str(told.value)
    assert f"3 table files that the log of {MODEL} counts on are gone" in str(told.value)
    assert f"forget {local.root} --model {MODEL}" in str(told.value)
    require_tables(CommitLog(local, OTHER))
    with pytest.raises(CommandError, match="are gone"):
        forget(local, ERASED)
    retire(commit_log, RUN)
    assert local.list(f"clips/model={MODEL}") == []
    stage(staged_table(ROWS), local, MODEL)
    recover(CommitLog(local, MODEL), RUN, partial(publish, local, MODEL))
    require_tables(CommitLog(local, MODEL))
    assert CommitLog(local, MODEL).tagged().to_pylist() == ["keep-1"], "the other is forgotten"


def test_a_check_while_rows_are_written_anew(store: Store, staged_table: Build) -> None:
    """The log was read before, the tables are listed afterwards."""
    add(store, staged_table(ROWS))
    add(store, staged_table([("keep-4", None, "r")]))
    commit_log = CommitLog(store, MODEL)
    compact(CommitLog(store, MODEL), RUN)
    require_tables(commit_log)


def test_what_is_broken_holds_no_name_afterwards(store: Store, staged_table: Build) -> None:
    """A record that cannot be read is text; a file that was moved aside may hold anything."""
    add(store, staged_table([("a", None, "r"), ("b", None, "r")]))
    store.write("_runs/broken.json", b'{"error": "file:///a is \xff", "command": ["file:///b"')
    store.write(f"_damaged/_staging/{MODEL}/x.parquet", b"file:///a")
    bury(store, "forget", ["file:///a"])
    assert erase_pending(store, RUN) == 1
    assert store.list("_damaged") == []
    left = store.read("_runs/broken.json")
    assert left == b'{"error": "(forgotten) is \xff", "command": ["file:///b"'
    assert files_that_hold(store, "file:///a") == []


def test_a_damaged_list_of_what_was_forgotten_ends_a_command(
    local: Store, staged_table: Build
) -> None:
    """Without it, or its key, recordings would come back."""
    add(local, staged_table([("a", None, "r")]))
    bury(local, "forget", ["file:///a"])
    erase_pending(local, RUN)
    for path in ("_forgotten/key", "_forgotten/forget.json"):
        data = local.read(path)
        for damaged in (b"", data[:-1], data[1:], data.replace(b"a", b"b"), data * 2):
            local.write(path, damaged)
            with pytest.raises(CommandError, match=f"{path} .*restore it"):
                CommitLog(local, MODEL)
        local.write(path, data)
    CommitLog(local, MODEL)
