"""The record of a run tells how far it is while it goes on, and how it ended ever after."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.output.heartbeat import Heartbeat
from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.tally import Tally
from pipelines.storage.store import LocalStore, Store, open_store

BEAT_S = 0.02


def read(store: Store) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(store.read("_runs/r.json"))
    return found


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.005)


def test_the_record_follows_the_run(out_url: str) -> None:
    store = open_store(out_url)
    record = RunRecord("r", ["tag"], {}, "m-1", n_to_do=4)
    record.write(store)
    first = read(store)

    def look() -> None:
        record.under_way_s, record.expected_under_way_s = 600.0, 25.0

    with Heartbeat(record, store, look, BEAT_S):
        until(lambda: read(store)["heartbeat_at"] > first["heartbeat_at"])
        assert read(store)["seconds_left"] is None, "no work has begun"
        record.begin_work(100.0)
        record.tally = record.tally.plus(Tally(1, 3600.0, failures={"empty": 1}, expected_s=25.0))
        until(lambda: read(store)["n_failed"] == 1)
    seen = read(store)
    assert (seen["state"], seen["n_tagged"], seen["failures"]) == ("running", 1, {"empty": 1})
    assert (seen["audio_hours"], seen["under_way_s"]) == (1.0, 600.0)
    assert seen["seconds_left"] == pytest.approx(seen["wall_s"], abs=1.0), "half of it is done"
    record.end(RunState.COMPLETE)
    record.write(store)
    assert read(store)["under_way_s"] == 0.0
    assert read(store)["seconds_left"] is None


class SlowStore(LocalStore):
    """Keeps each write of a thread other than the main one until ``go`` is set, then does it."""

    begun = threading.Event()
    go = threading.Event()

    def _write(self, path: str, data: bytes) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.begun.set()
            self.go.wait(30)
        super()._write(path, data)


def test_the_final_record_comes_after_a_beat_that_is_on_its_way(tmp_path: Path) -> None:
    store = SlowStore(str(tmp_path))
    record = RunRecord("r", ["tag"], {}, "m-1")
    with Heartbeat(record, store, lambda: None, BEAT_S):
        assert store.begun.wait(30)
        threading.Timer(0.2, store.go.set).start()
    record.end(RunState.COMPLETE)
    record.write(store)
    assert read(store)["state"] == "complete"
    time.sleep(10 * BEAT_S)
    assert read(store)["state"] == "complete", "and no other comes"


def test_no_beat_is_written_once_the_run_has_ended(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    record = RunRecord("r", ["tag"], {}, "m-1")
    record.end(RunState.FAILED)
    record.beat(store)
    assert store.list("_runs") == []


def test_a_beat_that_the_store_does_not_take_is_left_out(tmp_path: Path) -> None:
    """The folder of the records is a file for a while."""
    store = open_store(str(tmp_path))
    record = RunRecord("r", ["tag"], {}, "m-1")
    looks = []
    (tmp_path / "_runs").write_text("")
    with Heartbeat(record, store, lambda: looks.append(1), BEAT_S):
        until(lambda: len(looks) > 2)
        (tmp_path / "_runs").unlink()
        until(lambda: store.exists("_runs/r.json"))
    assert read(store)["state"] == "running"


def test_on_a_slow_store_beats_come_more_rarely(tmp_path: Path) -> None:
    class Slow(LocalStore):
        def _write(self, path: str, data: bytes) -> None:
            time.sleep(0.1)
            super()._write(path, data)

    looks: list[float] = []
    record = RunRecord("r", ["tag"], {}, "m-1")
    with Heartbeat(record, Slow(str(tmp_path)), lambda: looks.append(time.monotonic()), BEAT_S):
        until(lambda: len(looks) > 1)
    assert looks[1] - looks[0] >= 0.1 / 0.05
