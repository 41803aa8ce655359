"""The record of a step is there from its start, and tells how it ended."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.signals import Interrupted
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.store import open_store
from pipelines.training.step_records import recorded
from tagger.errors import CommandError, OptionError


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
    assert found["error"] is None
    assert set(found["versions"]) > {"python", "ray", "torch"}


def ended_by(error: BaseException, tmp_path) -> dict[str, object]:
    """The record of a step that ends with an exception."""
    store = open_store(str(tmp_path))
    with pytest.raises(type(error)), recorded(store, "fit", [], Job(), "abc"):
        raise error
    (path,) = store.list("_runs")
    return json.loads(store.read(path))


@pytest.mark.parametrize(
    "error",
    [
        CommandError("why"),
        OptionError("epochs", "must not be negative"),
        AccessDenied("no"),
        StoreUnavailable("away"),
        ClusterLost("a node is gone"),
    ],
)
def test_what_people_can_mend_takes_one_line(error, tmp_path):
    found = ended_by(error, tmp_path)
    assert found["state"] == "failed"
    assert found["error"] == f"{type(error).__name__}: {error}"


def test_what_nobody_foresaw_keeps_its_traceback(tmp_path):
    found = ended_by(ZeroDivisionError("why"), tmp_path)
    assert found["state"] == "failed"
    assert found["error"].startswith("Traceback")
    assert "in ended_by" in found["error"]
    assert found["error"].rstrip().endswith("ZeroDivisionError: why")


def test_a_step_that_was_told_to_end_has_not_failed(tmp_path):
    found = ended_by(Interrupted(signal.SIGTERM), tmp_path)
    assert (found["state"], found["error"]) == ("interrupted", "Interrupted: ended by SIGTERM")


def test_an_end_that_a_library_turns_into_an_error_of_its_own(tmp_path):
    script = """
import os, signal, sys, time
from pipelines.runtime.signals import raise_on_signals
from pipelines.storage.store import open_store
from pipelines.training.step_records import recorded
from tests.pipelines.training.test_step_records import Job

raise_on_signals()
with recorded(open_store(sys.argv[1]), "fit", [], Job(), "abc"):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except BaseException:
        raise ImportError("half of a library")
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode
    store = open_store(str(tmp_path))
    (path,) = store.list("_runs")
    found = json.loads(store.read(path))
    assert (found["state"], found["error"]) == ("interrupted", "Interrupted: ended by SIGTERM")
