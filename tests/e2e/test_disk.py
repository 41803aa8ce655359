"""An output on a disk that is full, or that may not be written to any more, in the middle of it.

Mounting a disk needs the right to: as root, or in a name space of one's own, which needs none::

    unshare --user --map-root-user --mount python -m pytest tests/e2e/test_disk.py
"""

import os
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from pipelines.output.status import status
from pipelines.storage.store import open_store
from tests.support.sounds import write_sounds
from tests.support.tables import read_tables

pytestmark = [pytest.mark.ray, pytest.mark.faults]

N_CLIPS = 40
PAGE = 4096


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"), N_CLIPS, seconds=0.5)


@pytest.fixture
def disk(tmp_path):
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _several_batches(monkeypatch):
    monkeypatch.setattr("pipelines.tagging.batches.SHORTEST_BATCH_S", 16.0)


class Ballast:
    """A file that fills the disk it is on, but for some room."""

    def __init__(self, disk):
        self._path = disk / "ballast"
        self._path.touch()

    def leave(self, room):
        free = os.statvfs(self._path)
        size = self._path.stat().st_size + free.f_bavail * free.f_frsize - room
        with self._path.open("r+b") as file:
            file.truncate(min(size, self._path.stat().st_size))
            file.seek(0, os.SEEK_END)
            file.write(bytes(max(0, size - file.tell())))

    def remove(self):
        self._path.unlink()


def when_staged(out, action):
    """Act as soon as one batch is staged."""

    def watch():
        while not any(out.glob("_staging/*/*.parquet")):
            ended.wait(0.002)
        action()

    ended = threading.Event()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def assert_whole(out, found):
    assert sorted(Path(row["uri"]).stem for row in found["clips"]) == sorted(
        str(i) for i in range(N_CLIPS)
    )
    clips = {row["clip_id"] for row in found["clips"]}
    assert Counter(row["clip_id"] for row in found["tags"]) == dict.fromkeys(clips, 3)
    (model,) = status(open_store(str(out)), verify="bytes").models
    assert model.broken == ()
    assert (model.n_tagged, model.n_staged, model.n_unpublished) == (N_CLIPS, 0, 0)
    assert not any((out / "_tmp").iterdir())


def test_a_disk_that_fills_up_ends_the_job_and_more_room_completes_it(disk, sounds, tag):
    out = disk / "out"
    command = [str(sounds), "--out", str(out), "--cpus", "1"]
    ballast = Ballast(disk)
    filling = when_staged(out, lambda: ballast.leave(0))
    done = tag(*command)
    filling.join()
    assert done.code == 6, done.err
    assert "No space left on device" in done.err.splitlines()[-1]
    assert not any(out.glob("_log/*/*"))
    assert any(out.glob("_staging/*/*"))
    for room in range(0, 100 * PAGE, PAGE):  # enough to commit, too little to publish
        ballast.leave(room)
        done = tag(*command)
        assert done.code == 6, done.err
        assert "No space left on device" in done.err.splitlines()[-1]
        if any(out.glob("_log/*/*.json")):
            break
    assert not any(out.glob("_log/*/*.published"))
    assert read_tables(str(out)).get("clips", []) == []
    (model,) = status(open_store(str(out)), verify="bytes").models
    assert model.n_unpublished == 1
    assert model.broken == ()
    ballast.remove()
    assert tag(*command).code == 0
    assert_whole(out, read_tables(str(out)))


def test_a_disk_that_becomes_read_only_ends_the_job_and_no_more(
    disk, sounds, ray_cluster, begin_tag, tag
):
    out = disk / "out"
    command = [str(sounds), "--out", str(out), "--cpus", "1"]

    def remount(how):
        mount = ["mount", "-o", f"remount,{how}", str(disk)]
        while subprocess.run(mount, check=False, capture_output=True).returncode:
            pass  # busy while a file is open for writing

    turning = when_staged(out, lambda: remount("ro"))
    process = begin_tag(*command, RAY_ADDRESS=ray_cluster)
    _, said = process.communicate()
    turning.join()
    assert process.returncode == 5, said
    last = said.splitlines()[-1]
    assert "Read-only file system" in last
    assert "check who may read and write there" in last
    assert "clips" not in read_tables(str(out))
    remount("rw")
    assert tag(*command).code == 0
    assert_whole(out, read_tables(str(out)))
