"""Machines that are not as one hopes: their clocks, homes, disks, signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.cli.main import main
from tests.support.commands import ROOT
from tests.support.sounds import write_sound
from tests.support.tables import read_tables

SHIFTED = """
import datetime, sys, time
import pipelines.tagging.batch_tagger, pipelines.tagging.run
from pipelines.cli.main import main
shift_s, real_time, Real = float(sys.argv[1]), time.time, datetime.datetime
class Shifted(Real):
    @classmethod
    def now(cls, tz=None):
        global shift_s
        if shift_s != shift_s:  # NaN: a moment before midnight, when first asked
            now = Real.now(datetime.UTC)
            midnight = Real(now.year, now.month, now.day, tzinfo=datetime.UTC)
            shift_s = (midnight - now).total_seconds() + 86399.95
        return Real.now(tz) + datetime.timedelta(seconds=shift_s)
for name, module in list(sys.modules.items()):
    if name.startswith(("pipelines.", "tagger.")) and getattr(module, "datetime", None) is Real:
        module.datetime = Shifted
time.time = lambda: real_time() + (shift_s if shift_s == shift_s else 0.0)
sys.exit(main(sys.argv[2:]))
"""
DAY_S = 24 * 3600.0


@pytest.fixture
def tag_at(tmp_path: Path, tiny_model: Path) -> Callable[..., str]:
    """``tag_at(shift_s)``: one night's job, on a machine whose clock is wrong by so much."""

    def run(shift_s: float) -> str:
        flags = ["tag", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
        command = [*flags, "--model", str(tiny_model), "--max-failed", "1"]
        done = subprocess.run(
            [sys.executable, "-c", SHIFTED, str(shift_s), *command],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def view(out: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as database:
        database.execute((out / "views.sql").read_text())
        return database.execute(query).fetchall()


def test_a_clock_that_jumps_back_between_runs(tmp_path: Path, tag_at: Callable[..., str]) -> None:
    write_sound(tmp_path / "in" / "a.wav")
    (tmp_path / "in" / "b.wav").write_bytes(b"")
    tag_at(0)
    write_sound(tmp_path / "in" / "c.wav", seed=3)
    tag_at(-3 * DAY_S)
    tag_at(DAY_S)
    tag_at(0)
    out = tmp_path / "out"
    assert main(["status", str(out), "--verify"]) == 0
    names = sorted(row["uri"].rpartition("/")[2] for row in read_tables(str(out))["clips"])
    assert names == ["a.wav", "c.wav"]
    assert view(out, "SELECT reason FROM open_failures") == [("empty",)]


def test_a_run_over_midnight(tmp_path: Path, tag_at: Callable[..., str]) -> None:
    for i in range(20):
        write_sound(tmp_path / "in" / f"{i}.wav", seed=i)
    tag_at(float("nan"))
    out = tmp_path / "out"
    (record,) = [json.loads(path.read_text()) for path in out.glob("_runs/*.json")]
    began, ended = (datetime.fromisoformat(record[name]) for name in ("started_at", "ended_at"))
    assert (ended.date() - began.date()).days == 1
    assert main(["status", str(out), "--verify"]) == 0
    assert len(read_tables(str(out))["clips"]) == 20
    tag_at(2 * DAY_S)
    assert len(read_tables(str(out))["clips"]) == 20


def test_a_recording_replaced_by_one_of_the_same_size_and_time(
    tmp_path: Path, tag_at: Callable[..., str]
) -> None:
    """Nothing that a listing tells has changed, so it is not tagged again; its version says so."""
    path = write_sound(tmp_path / "in" / "a.wav", seed=1)
    tag_at(0)
    status = path.stat()
    write_sound(path, seed=2)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    tag_at(0)
    assert len(read_tables(str(tmp_path / "out"))["clips"]) == 1
    path.touch()
    tag_at(0)
    assert len(read_tables(str(tmp_path / "out"))["clips"]) == 2


@pytest.mark.parametrize("home", ["/proc/nothing", "/sys"])
def test_a_home_that_cannot_be_written(
    tmp_path: Path, begin_tag: Callable[..., Any], home: str
) -> None:
    write_sound(tmp_path / "in" / "a.wav")
    elsewhere = {"HOME": home, "XDG_CACHE_HOME": f"{home}/cache", "PYTHONDONTWRITEBYTECODE": "1"}
    job = begin_tag(str(tmp_path / "in"), "--out", str(tmp_path / "out"), **elsewhere)
    _, said = job.communicate()
    assert job.returncode == 0, said
    assert "error" not in said.lower()


def test_a_terminal_that_is_closed_ends_the_job_in_good_order(
    tmp_path: Path, begin_tag: Callable[..., Any]
) -> None:
    for i in range(400):
        write_sound(tmp_path / "in" / f"{i}.wav", seconds=5.0, seed=i)
    out = tmp_path / "out"
    job = begin_tag(str(tmp_path / "in"), "--out", str(out))
    while not [*out.glob("_runs/*.json")]:
        time.sleep(0.05)
    job.send_signal(signal.SIGHUP)
    _, said = job.communicate(timeout=30)
    assert job.returncode == 128 + signal.SIGHUP, said
    (record,) = out.glob("_runs/*.json")
    assert '"state": "interrupted"' in record.read_text()
    assert not [*out.glob("_lock/*")]


def test_a_job_that_is_to_outlive_its_terminal_does(tmp_path: Path, tiny_model: Path) -> None:
    for i in range(50):
        write_sound(tmp_path / "in" / f"{i}.wav", seed=i)
    out = tmp_path / "out"
    command = ["nohup", sys.executable, "-m", "pipelines", "tag", str(tmp_path / "in")]
    flags = ["--out", str(out), "--model", str(tiny_model)]
    with subprocess.Popen([*command, *flags], cwd=ROOT, stderr=subprocess.DEVNULL) as job:
        while not [*out.glob("_lock/*")]:
            time.sleep(0.05)
        job.send_signal(signal.SIGHUP)
        assert job.wait(120) == 0
    assert len(read_tables(str(out))["clips"]) == 50


def test_a_job_that_was_stopped_for_a_while_goes_on(
    tmp_path: Path, begin_tag: Callable[..., Any]
) -> None:
    for i in range(50):
        write_sound(tmp_path / "in" / f"{i}.wav", seed=i)
    out = tmp_path / "out"
    job = begin_tag(str(tmp_path / "in"), "--out", str(out), "--clip-timeout", "5")
    while not [*out.glob("_lock/*")]:
        time.sleep(0.05)
    job.send_signal(signal.SIGSTOP)
    time.sleep(8.0)  # longer than a clip may take
    job.send_signal(signal.SIGCONT)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert len(read_tables(str(out))["clips"]) == 50
    assert main(["status", str(out), "--verify"]) == 0


def test_scores_do_not_depend_on_batches(tmp_path: Path, tag_here: Callable[..., Any]) -> None:
    for i in range(7):
        write_sound(tmp_path / "in" / f"{i}.wav", seconds=1.0 + 2 * i, seed=i)
    found = []
    for batch in (1, 3, 128):
        out = str(tmp_path / f"out-{batch}")
        done = tag_here(str(tmp_path / "in"), "--out", out, "--extractor-batch", str(batch))
        assert done.code == 0, done.err
        rows = read_tables(out)["tags"]
        found.append({(row["clip_id"], row["tag"]): row["score"] for row in rows})
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        assert other == pytest.approx(found[0], abs=1e-5)


def test_a_full_temporary_folder(tmp_path: Path, begin_tag: Callable[..., Any]) -> None:
    """A folder that takes nothing: no job of small files needs one."""
    write_sound(tmp_path / "in" / "a.wav")
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    job = begin_tag(
        str(tmp_path / "in"), "--out", str(tmp_path / "out"), TMPDIR=str(tmp_path / "none")
    )
    _, said = job.communicate()
    assert job.returncode == 0, said
