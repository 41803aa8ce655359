"""``status`` on the command line: what it shows, and how it ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.output.commit_log import CommitLog
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.tally import Tally
from pipelines.storage.store import Store, open_store

ROOT = Path(__file__).parents[3]
MODEL = "m-1"


@pytest.fixture
def store(tmp_path: Path, settings: Settings) -> Store:
    opened = open_store(str(tmp_path / "out"))
    open_output(opened, settings)
    return opened


def failing(store: Store, staged_table: Callable, n: int) -> None:
    """One clip that is tagged, and ``n`` that fail."""
    rows = [(f"bad\n{i:02}", "timeout", "run-1") for i in range(n)]
    stage(staged_table([("good", None, "run-1"), *rows], note="too\tslow"), store, MODEL)
    recover(CommitLog(store, MODEL), Run("run-1", "2026-11-22"), partial(publish, store, MODEL))


def test_ten_failed_clips_are_named_and_all_as_json(
    store: Store, staged_table: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(store, staged_table, 12)
    assert main(["status", store.root, "--verify"]) == Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "model m-1: 1 clips in 1 entries",
        "  failed    timeout             12",
        r"    file:///bad\n00  timeout: too\tslow",
    ]
    assert lines[11:] == [
        r"    file:///bad\n09  timeout: too\tslow",
        "    … and 2 more (status --json names all)",
        "  waiting   0 entries, 0 staged files",
        "  verified: 1 clips",
    ]
    assert main(["status", store.root, "--json"]) == Exit.DONE
    (model,) = json.loads(capsys.readouterr().out)["models"]
    assert len(model["failed_clips"]) == 12
    assert model["verified"] is False


def write(store: Store, run_id: str, state: RunState, hours_ago: float = 0.0) -> None:
    record = RunRecord(run_id, ["tag"], {}, MODEL, n_to_do=10, tally=Tally(3, 360.0))
    at = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat()
    record.state, record.started_at = state, at
    record.ended_at = None if state == RunState.RUNNING else at
    record.write(store)


def test_the_last_runs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(12):
        write(store, f"{i:02}", RunState.COMPLETE)
    for flags, expected in (([], range(2, 12)), (["--last", "3"], range(9, 12))):
        assert main(["status", store.root, *flags]) == Exit.DONE
        said = capsys.readouterr().out.splitlines()
        assert [line.split()[1] for line in said] == [f"{i:02}" for i in expected]
    assert main(["status", store.root, "--last", "0"]) == Exit.COMMAND


def test_a_run_at_work_tells_how_far_it_is(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store, "1", RunState.RUNNING)
    with Lock(store, MODEL, "1"):
        assert main(["status", store.root]) == Exit.DONE
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("run 1  running")
    assert second.startswith("    7 of 10 clips to do, ")
    assert second.endswith(" s ago")
    assert main(["status", store.root]) == Exit.DONE
    assert capsys.readouterr().out.startswith("run 1  killed")


def test_the_alarm(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    write(store, "1", RunState.COMPLETE, 27.0)
    assert main(["status", store.root, "--fail-if-older", "28h"]) == Exit.DONE
    assert main(["status", store.root, "--fail-if-older", "26h"]) == Exit.STALE
    said = capsys.readouterr().err
    assert said == f"error: {store.root}: the last complete run, 1, ended 27.0 h ago\n"
    write(store, "2", RunState.RUNNING, 1.0)
    assert main(["status", store.root, "--fail-if-older", "2d", "--json"]) == Exit.STALE
    said = capsys.readouterr()
    assert said.err == f"error: {store.root}: run 2 of {MODEL} was killed\n"
    assert json.loads(said.out)["alarm"] == f"run 2 of {MODEL} was killed"
    assert main(["status", store.root, "--fail-if-older", "soon"]) == Exit.COMMAND
    assert "--fail-if-older is a time such as 90m" in capsys.readouterr().err


def test_damage_is_told_rather_than_age(
    store: Store, staged_table: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    failing(store, staged_table, 1)
    store.remove(store.list("clips"))
    command = ["status", store.root, "--verify", "--fail-if-older", "1h"]
    assert main(command) == Exit.DAMAGED
    assert "verified" not in capsys.readouterr().out


def test_broken_records_and_locks_do_not_block(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    write(store, "1", RunState.COMPLETE)
    write(store, "2", RunState.RUNNING)
    store.write("_runs/3.json", b"{")
    store.write(f"_lock/{MODEL}.json", b"")
    assert main(["status", store.root]) == Exit.DONE
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in said[:2]] == [
        ["run", "1", "complete"],
        ["run", "2", "killed"],
    ]
    assert said[2].startswith("unreadable  _runs/3.json is no record of a run")
    assert f"_lock/{MODEL}.json is no lock of a job" in said[3]


AT_WORK = """
import sys
from pipelines.output.lock import Lock
from pipelines.output.run_records import RunRecord, RunState
from pipelines.storage.store import open_store
store = open_store(sys.argv[1])
record = RunRecord("1", ["tag"], {}, "m-1", n_to_do=10)
with Lock(store, "m-1", "1"):
    record.write(store)
    print("at work", flush=True)
    for line in sys.stdin:
        record.tally.n_tagged = int(line)
        record.write(store)
    record.end(RunState.COMPLETE)
    record.write(store)
"""


@pytest.fixture
def at_work(store: Store):
    """A run in a process of its own: takes numbers of tagged clips, ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_WORK, store.root],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # waits for its end, after its input has been closed
        assert process.stdout.readline() == "at work\n"
        yield process


def watching(store: Store) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", "status", store.root, "--watch"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_watch_follows_a_run_of_another_process_to_its_end(store: Store, at_work) -> None:
    watch = watching(store)
    for n in (0, 4):
        at_work.stdin.write(f"{n}\n")
        at_work.stdin.flush()
        while f"{10 - n} of 10 clips to do" not in watch.stdout.readline():
            assert watch.poll() is None
    at_work.stdin.close()
    rest, said = watch.communicate(timeout=60)
    assert watch.returncode == 0, said
    assert rest.splitlines()[-1].startswith("run 1  complete")


def test_watch_ends_with_ctrl_c_and_the_run_goes_on(store: Store, at_work) -> None:
    watch = watching(store)
    while "clips to do" not in watch.stdout.readline():
        assert watch.poll() is None
    watch.send_signal(signal.SIGINT)
    _, said = watch.communicate(timeout=60)
    assert (watch.returncode, said) == (0, "")
    assert at_work.poll() is None
