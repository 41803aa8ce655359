"""Whole commands whose standard streams are closed, full, or read by nobody any more."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipelines.storage.store import open_store
from tests.support.commands import ROOT
from tests.support.sounds import write_sounds
from tests.support.tables import assert_same, read_tables

LEFT = "> >(true)"
BROKEN = {
    "stdout closed": ">&-",
    "stdout full": "> /dev/full",
    "stdout left": LEFT,
    "stderr closed": "2>&-",
    "stderr full": "2> /dev/full",
    "stderr left": f"2{LEFT}",
    "all closed": "<&- >&- 2>&-",
    "both full": "> /dev/full 2>&1",
}


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def shell(command: str, redirection: str = "") -> Ended:
    """A command of ours, with its streams where ``redirection`` sends them."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m pipelines {command} {redirection}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def quiet(ended: Ended) -> bool:
    """Nothing of Python's own: no traceback, no exception that it ignored."""
    return "Traceback" not in ended.err and "Exception ignored" not in ended.err


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    """Two recordings and one that fails, which ends with exit code 4; the output is to be added."""
    folder = write_sounds(tmp_path_factory.mktemp("sounds"), 2)
    (folder / "empty.wav").write_bytes(b"")
    return f"tag {folder} --model {tiny_model} --out"


@pytest.fixture(scope="module")
def output(job: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the job leaves where its streams are whole."""
    out = str(tmp_path_factory.mktemp("whole") / "out")
    done = shell(f"{job} {out}")
    assert (done.code, done.err) == (4, "")
    assert "tagged    2 clips" in done.out
    return out


@pytest.mark.parametrize(
    ("how", "redirection"),
    [
        *(("--verbose", redirection) for redirection in BROKEN.values()),
        ("--json --log-format json --verbose", BROKEN["all closed"]),
        ("--json --log-format json --verbose", BROKEN["both full"]),
    ],
)
def test_a_job_leaves_the_same(
    how: str, redirection: str, job: str, output: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    done = shell(f"{job} {out} {how}", redirection)
    assert done.code == 4
    assert quiet(done)
    assert_same(read_tables(out), read_tables(output))
    store = open_store(out)
    assert store.exists("views.sql")
    (path,) = store.list("_runs")
    record = json.loads(store.read(path))
    assert (record["state"], record["n_tagged"], record["n_failed"]) == ("over_budget", 2, 1)
    assert store.list("_lock") == store.list("_staging") == []
    if redirection == BROKEN["stdout full"]:
        assert "standard output cannot be written: No space left on device" in done.err


ASKING = {
    "status": "status {output}",
    "status as json": "status {output} --json",
    "query": 'query {output} "FROM range(100000)" --format csv',
    "query as json": 'query {output} "FROM range(100000)" --format json',
    "help": "tag --help",
    "dry run": "{job} {output} --dry-run",
    "print": "{job} {output} --print --max-failed 1",
}


@pytest.mark.parametrize("command", ASKING.values(), ids=ASKING)
def test_a_command_that_is_there_to_show_something(command: str, job: str, output: str) -> None:
    """A reader may leave, and nobody may be there; what does not fit is a mistake that is told."""
    words = command.format(job=job, output=output)
    for redirection in (">&-", LEFT, "| head -c 1; exit ${PIPESTATUS[0]}"):
        done = shell(words, redirection)
        assert (done.code, done.err) == (0, ""), redirection
    done = shell(words, "> /dev/full")
    assert done.code == 2
    assert done.err == "error: standard output cannot be written: No space left on device\n"


def test_damage_is_told_by_the_exit_code_whoever_reads(output: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", output, copy], check=True)
    for path in copy.glob("tags/**/*.parquet"):
        path.unlink()
    for redirection in (">&-", LEFT, "| head -c 1; exit ${PIPESTATUS[0]}", "2>&-"):
        assert shell(f"status {copy} --verify", redirection).code == 9


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full", f"2{LEFT}", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("command", "code"),
    [("tag /no/such/file --out {out}", 2), ("nonsense", 2), ("status {out}/x --verbose", 2)],
)
def test_a_mistake_has_its_exit_code(
    redirection: str, command: str, code: int, tmp_path: Path
) -> None:
    done = shell(command.format(out=tmp_path), redirection)
    assert (done.code, done.err) == (code, "")
