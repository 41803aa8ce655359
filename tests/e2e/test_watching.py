"""While a job works on one long recording, its record and ``status`` say how far it is.

The board is on Ray; its actor is killed meanwhile, which nobody but the board notices.
"""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.storage.store import open_store
from pipelines.tagging.board import Done

pytestmark = [pytest.mark.ray, pytest.mark.faults]

HOURS = 20  # after half a minute that tells nothing, half a minute of work: several beats


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours in one file, whose name and size promise a 22nd of them."""
    path = tmp_path_factory.mktemp("in") / "long.wav"
    minute = 0.1 * np.random.default_rng(0).standard_normal(60 * 8000)
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_U8") as file:
        for _ in range(HOURS * 60):
            file.write(minute)
    return path


def record_of(out: str) -> dict[str, Any]:
    store = open_store(out)
    (path,) = store.list("_runs")
    record: dict[str, Any] = json.loads(store.read(path))
    return record


@pytest.mark.timeout(900)  # a minute on a quiet machine
def test_a_long_recording_is_followed(
    recording: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    job = begin_tag(str(recording), "--out", out, "--cpus", "1")
    beats: dict[str, dict[str, Any]] = {}
    while job.poll() is None:
        time.sleep(0.5)
        if Path(out, "_runs").exists():
            record = record_of(out)
            if record["under_way_s"] and record["heartbeat_at"] not in beats:
                assert main(["status", out]) == 0
                assert "1 of 1 clips to do, " in (shown := capsys.readouterr().out)
                assert " h more under way" in shown
            beats[record["heartbeat_at"]] = record
    said = job.communicate()[1]
    assert job.returncode == 0, said
    *running, last = beats.values()
    assert {record["state"] for record in running} == {"running"}
    under_way = [record["under_way_s"] for record in running if record["under_way_s"]]
    assert under_way == sorted(under_way)
    assert len(set(under_way)) >= 2, beats
    for record in running:
        if record["under_way_s"]:
            assert record["n_tagged"] == 0
            part = record["under_way_s"] / (HOURS * 3600)
            done = record["expected_under_way_s"] / record["to_do_s"]
            assert done == pytest.approx(part, abs=0.01), "although it looked 22 times shorter"
            assert record["seconds_left"] > 0
    assert (last["state"], last["n_tagged"], last["under_way_s"]) == ("complete", 1, 0.0)
    assert last["audio_hours"] == pytest.approx(HOURS)


def test_the_board_outlives_its_actor(ray_cluster: str) -> None:
    import ray

    from pipelines.tagging.ray_board import RayBoard

    @ray.remote(num_cpus=0)
    def work(board: RayBoard, batch: int, n_segments: int) -> None:
        board.write(batch, Done(n_segments, 1.0))

    board = RayBoard()
    assert board.total() == Done(0, 0.0)
    ray.get([work.remote(board, 1, 10), work.remote(board, 2, 20)])
    until(lambda: board.total() == Done(30, 2.0))
    ray.kill(board._actor, no_restart=False)

    def tell_again() -> bool:
        ray.get(work.remote(board, 3, 5))  # what is told to an actor that dies is lost
        return board.total() == Done(5, 1.0)

    until(tell_again)
    board.wipe(3)
    until(lambda: board.total() == Done(0, 0.0))


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.1)
