"""What the records of runs say, also where some are broken, and when to raise an alarm."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.output.lock import Lock
from pipelines.output.run_history import RunHistory, alarm
from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.settings import Settings
from pipelines.output.tally import Tally
from pipelines.storage.store import Store, open_store

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(hours=26)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


@pytest.fixture
def ran(store: Store) -> Callable[..., None]:
    """``ran(run_id, state, hours_ago)`` writes a record."""

    def write(
        run_id: str, state: RunState, hours_ago: float, model: str = "m-1", error: str = ""
    ) -> None:
        record = RunRecord(run_id, ["tag"], {}, model, tally=Tally(70, failures={"empty": 30}))
        record.state, record.error = state, error
        at = (NOW - timedelta(hours=hours_ago)).isoformat()
        record.started_at = at
        record.ended_at = None if state == RunState.RUNNING else at
        record.write(store)
        text = json.loads(store.read(f"_runs/{run_id}.json")) | {"heartbeat_at": at}
        store.write(f"_runs/{run_id}.json", json.dumps(text).encode())

    return write


def alarmed(store: Store) -> str | None:
    return alarm(RunHistory(store), DAY, NOW)


def test_no_run_at_all(store: Store) -> None:
    assert alarmed(store) == "no run has ended yet"


@pytest.mark.parametrize(
    ("hours_ago", "said"),
    [
        (25.9, None),
        (26.1, "the last complete run, 1, ended 26.1 h ago"),
        (1000.0, "the last complete run, 1, ended 1,000.0 h ago"),
    ],
)
def test_by_age(store: Store, ran: Callable[..., None], hours_ago: float, said: str) -> None:
    ran("1", RunState.COMPLETE, hours_ago)
    assert alarmed(store) == said


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RunState.RUNNING, "run 2 of m-1 was killed"),
        (RunState.INTERRUPTED, "run 2 of m-1 was interrupted"),
        (RunState.FAILED, "run 2 of m-1 failed: KeyError: 'x'"),
        (
            RunState.OVER_BUDGET,
            "run 2 of m-1 was over its failure budget: 30 of 100 clips failed",
        ),
    ],
)
@pytest.mark.parametrize("hours_ago", [1.0, 100.0])
def test_by_the_end_of_the_last_run(
    store: Store, ran: Callable[..., None], state: RunState, said: str, hours_ago: float
) -> None:
    ran("1", RunState.COMPLETE, hours_ago + 1)
    ran("2", state, hours_ago, error="Traceback\n  of it\nKeyError: 'x'\n")
    assert alarmed(store) == said
    ran("3", RunState.COMPLETE, 0.5)
    assert alarmed(store) is None, "what came after counts"


def test_a_run_at_work_is_neither_good_nor_bad(store: Store, ran: Callable[..., None]) -> None:
    ran("1", RunState.COMPLETE, 25)
    ran("2", RunState.RUNNING, 1)
    with Lock(store, "m-1", "2"):
        assert alarmed(store) is None
        ran("1", RunState.COMPLETE, 27)
        assert alarmed(store) == "the last complete run, 1, ended 27.0 h ago"


def test_one_model_does_not_hide_the_trouble_of_another(
    store: Store, ran: Callable[..., None]
) -> None:
    ran("0", RunState.FAILED, 200, "retired")
    ran("1", RunState.FAILED, 3, "m-2")
    ran("2", RunState.COMPLETE, 2, "m-1")
    assert alarmed(store) == "run 1 of m-2 failed: no word of why"
    ran("3", RunState.COMPLETE, 1, "m-2")
    assert alarmed(store) is None


BROKEN = {
    "cut": b'{"run_id": "1", ',
    "empty": b"",
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "a number": b"7",
    "without counts": b'{"run_id": "1", "model_id": "m", "state": "complete"}',
    "no count": b'{"run_id": "1", "model_id": "m", "state": "complete", "started_at": '
    b'"2026-11-26", "n_tagged": "many", "n_failed": 0, "audio_hours": 0}',
    "endless": b'{"run_id": "1", "model_id": "m", "state": "complete", "started_at": '
    b'"2026-11-26", "n_tagged": 1e999, "n_failed": 0, "audio_hours": 0}',
    "no number": b'{"run_id": "1", "model_id": "m", "state": "complete", "started_at": '
    b'"2026-11-26", "n_tagged": 1, "n_failed": 0, "audio_hours": NaN}',
    "deep": b"[" * 100_000,
    "binary": bytes(range(256)),
    "running, without what a heartbeat tells": b'{"run_id": "1", "model_id": "m", '
    b'"state": "running", "started_at": "2026-11-26", "n_tagged": 1, "n_failed": 0, '
    b'"audio_hours": 0, "heartbeat_at": "2026-11-26"}',
    "running, with texts for numbers": b'{"run_id": "1", "model_id": "m", '
    b'"state": "running", "started_at": "2026-11-26", "n_tagged": 1, "n_failed": 0, '
    b'"audio_hours": 0, "heartbeat_at": "2026-11-26", "n_to_do": "many", "under_way_s": 0, '
    b'"clips_per_s": 0, "seconds_left": null}',
    "no time": b'{"run_id": "1", "model_id": "m", "state": "complete", "started_at": '
    b'"yesterday", "n_tagged": 1, "n_failed": 0, "audio_hours": 0}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_record_is_named_and_passed_over(
    store: Store, ran: Callable[..., None], content: bytes
) -> None:
    ran("1", RunState.COMPLETE, 1)
    store.write("_runs/2.json", content)
    history = RunHistory(store)
    assert [run["run_id"] for run in history] == ["1"]
    (line,) = history.unreadable
    assert line.startswith("_runs/2.json is no record of a run")
    assert list(history) and len(history.unreadable) == 1, "it is read once"


def test_only_what_is_asked_for_is_read(store: Store, ran: Callable[..., None]) -> None:
    store.write("_runs/0.json", b"broken")
    ran("1", RunState.COMPLETE, 2)
    ran("2", RunState.COMPLETE, 1)
    history = RunHistory(store)
    assert [run["run_id"] for run in islice(history, 2)] == ["2", "1"]
    assert history.unreadable == []


def test_a_broken_lock_is_named_and_its_run_dead(store: Store, ran: Callable[..., None]) -> None:
    ran("1", RunState.RUNNING, 1)
    store.write("_lock/m-1.json", b"{")
    history = RunHistory(store)
    assert [run["state"] for run in history] == ["killed"]
    (line,) = history.unreadable
    assert "_lock/m-1.json is no lock" in line


def test_a_heartbeat_without_a_time_zone_is_shown(store: Store) -> None:
    record = RunRecord("1", ["tag"], {}, "m-1")
    record.write(store)
    told = json.loads(store.read("_runs/1.json")) | {"heartbeat_at": "2026-11-26T12:00:00"}
    store.write("_runs/1.json", json.dumps(told).encode())
    store.write("_output.json", Settings(("clips",), 3, 0.0, "float32", "").to_json())
    with Lock(store, "m-1", "1"):
        assert main(["status", store.root]) == Exit.DONE


def test_records_of_version_1_are_read() -> None:
    golden = Path(__file__).parents[2] / "golden" / "version_1" / "output"
    history = RunHistory(open_store(str(golden)))
    assert [run["state"] for run in history] == ["complete"]
    assert history.unreadable == []
