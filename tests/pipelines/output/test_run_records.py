"""The record of a run."""

import json
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from pipelines.output import run_records
from pipelines.output.run_records import RunRecord, RunState, new_run_id
from pipelines.output.tally import Tally
from pipelines.storage.store import open_store


def test_a_record_is_written_and_replaced(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    versions = {"python": "3.11.0"}
    record = RunRecord("r1", ["tag", "in"], {"out": "ü"}, "m-1", n_listed=3, versions=versions)
    record.write(store)
    written = json.loads(store.read("_runs/r1.json"))
    assert written["state"] == "running"
    assert written["ended_at"] is None
    assert written["config"] == {"out": "ü"}
    assert written["versions"] == versions

    record.tally.add(Tally(2, 7200.0, 10, 99, 4, {"empty": 1}, {"model": 0.5}))
    record.end(RunState.COMPLETE)
    record.write(store)
    written = json.loads(store.read("_runs/r1.json"))
    assert written["state"] == "complete"
    assert (written["n_tagged"], written["n_failed"], written["audio_hours"]) == (2, 1, 2.0)
    assert written["failures"] == {"empty": 1}
    assert written["seconds"] == {"model": 0.5}
    assert written["clips_per_s"] >= 0.0
    assert store.list("_runs") == ["_runs/r1.json"]


def test_run_ids_sort_by_time_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """At moments where days, months and years turn; two jobs may begin at the same one."""
    moments = [
        datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC),
        datetime(2026, 10, 1, 0, 0, 0, tzinfo=UTC),
        datetime(2026, 10, 1, 9, 5, 0, tzinfo=UTC),
        datetime(2026, 10, 1, 10, 0, 0, tzinfo=UTC),
        datetime(2027, 1, 1, 0, 0, 0, tzinfo=UTC),
    ]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return moment

    monkeypatch.setattr(run_records, "datetime", Clock)
    ids = []
    for moment in moments:  # noqa: B007 (the clock reads it)
        ids += sorted(new_run_id() for _ in range(20))
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
    assert len({len(run_id) for run_id in ids}) == 1


def test_retries_of_the_driver_are_not_hidden_by_those_of_the_workers() -> None:
    record = RunRecord("run", [], {}, "m-1", tally=Tally(n_retries=2))
    record.n_retries = 5
    assert record.summary()["n_retries"] == 5
