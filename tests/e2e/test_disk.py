"""An output on a disk that is full, or that may not be written to any more, in the middle of it."""

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.output.status import status
from pipelines.storage.store import open_store

pytestmark = pytest.mark.ray

Tables = dict[str, list[dict[str, Any]]]

N_CLIPS = 40
PAGE = 4096


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory, write_sound: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for seed in range(N_CLIPS):
        write_sound(folder / f"{seed}.wav", seconds=0.5, seed=seed)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk; test_store.py meets a full one without")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(autouse=True)
def _several_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.tagging.batches.SHORTEST_BATCH_S", 16.0)


class Ballast:
    """A file that fills the disk it is on, but for some room."""

    def __init__(self, disk: Path) -> None:
        self._path = disk / "ballast"
        self._path.touch()

    def leave(self, room: int) -> None:
        free = os.statvfs(self._path)
        size = self._path.stat().st_size + free.f_bavail * free.f_frsize - room
        with self._path.open("r+b") as file:
            file.truncate(min(size, self._path.stat().st_size))
            file.seek(0, os.SEEK_END)
            file.write(bytes(max(0, size - file.tell())))

    def remove(self) -> None:
        self._path.unlink()


def when_staged(out: Path, action: Callable[[], object]) -> threading.Thread:
    """Act as soon as one batch is staged."""

    def watch() -> None:
        while not any(out.glob("_staging/*/*.parquet")):
            ended.wait(0.002)
        action()

    ended = threading.Event()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def assert_whole(out: Path, found: Tables) -> None:
    assert sorted(Path(row["uri"]).stem for row in found["clips"]) == sorted(
        str(i) for i in range(N_CLIPS)
    )
    clips = {row["clip_id"] for row in found["clips"]}
    assert Counter(row["clip_id"] for row in found["tags"]) == dict.fromkeys(clips, 3)
    (model,) = status(open_store(str(out)), verify=True).models
    assert model.broken == ()
    assert (model.n_tagged, model.n_staged, model.n_unpublished) == (N_CLIPS, 0, 0)
    assert not any((out / "_tmp").iterdir())


def test_a_disk_that_fills_up_ends_the_job_and_more_room_completes_it(
    disk: Path, sounds: Path, tag: Callable[..., Any], tables: Callable[[str], Tables]
) -> None:
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
    assert tables(str(out)).get("clips", []) == []
    (model,) = status(open_store(str(out)), verify=True).models
    assert model.n_unpublished == 1
    assert model.broken == ()
    ballast.remove()
    assert tag(*command).code == 0
    assert_whole(out, tables(str(out)))


def test_a_disk_that_becomes_read_only_ends_the_job_and_no_more(
    disk: Path,
    sounds: Path,
    ray_cluster: str,
    begin_tag: Callable[..., subprocess.Popen[str]],
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
) -> None:
    out = disk / "out"
    command = [str(sounds), "--out", str(out), "--cpus", "1"]

    def remount(how: str) -> None:
        mount = ["mount", "-o", f"remount,{how}", str(disk)]
        while subprocess.run(mount, check=False, capture_output=True).returncode:
            pass  # busy while a file is open for writing

    turning = when_staged(out, lambda: remount("ro"))
    process = begin_tag(*command, RAY_ADDRESS=ray_cluster)
    _, said = process.communicate(timeout=90)
    turning.join()
    assert process.returncode == 5, said
    last = said.splitlines()[-1]
    assert "Read-only file system" in last
    assert "check who may read and write there" in last
    assert "clips" not in tables(str(out))
    remount("rw")
    assert tag(*command).code == 0
    assert_whole(out, tables(str(out)))
