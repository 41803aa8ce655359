"""The record of a step is there from its start, and tells how it ended."""

import json
from dataclasses import dataclass

import pytest

from pipelines.storage.store import open_store
from pipelines.training.step_records import recorded


@dataclass(frozen=True)
class Job:
    work: str = "w"


def test_a_step_that_ends_well(tmp_path):
    store = open_store(str(tmp_path))
    with recorded(store, "fit", ["fit", "--work", "w"], Job(), "abc") as record:
        (path,) = store.list("_runs")
        assert json.loads(store.read(path))["state"] == "running"
        record.metrics["loss"] = 0.5
    found = json.loads(store.read(path))
    assert found["state"] == "complete"
    assert found["metrics"] == {"loss": 0.5}
    assert found["config"] == {"work": "w"}
    assert found["command"] == ["fit", "--work", "w"]


def test_a_step_that_fails(tmp_path):
    store = open_store(str(tmp_path))
    with pytest.raises(ValueError, match="why"), recorded(store, "fit", [], Job(), "abc"):
        raise ValueError("why")
    (path,) = store.list("_runs")
    found = json.loads(store.read(path))
    assert (found["state"], found["error"]) == ("failed", "ValueError: why")
