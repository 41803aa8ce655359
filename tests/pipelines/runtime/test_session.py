"""The folder of a local Ray, and what other users of the machine can do with a Ray that runs."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from pipelines.runtime import session

LONGEST_SOCKET = 107
OF_RAY = "/session_2026-11-26_10-38-22_926770_4194304/sockets/plasma_store"

RAY = """
import json, sys
from pipelines.runtime import cluster
from pipelines.runtime.limits import Resources
cluster.join(Resources(cpus=1))
import ray
node = ray._private.worker.global_worker.node
print(json.dumps([node.get_temp_dir_path(), node.gcs_address, node.plasma_store_socket_name]))
sys.stdout.flush()
sys.stdin.read()
"""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Folders that are made are forgotten at the end, and no Ray is shut down for them."""
    monkeypatch.setattr(session, "_folder", None)
    monkeypatch.setattr(session.atexit, "register", lambda function: None)
    yield
    if session._folder is not None:
        session.shutil.rmtree(session._folder)


def temporary(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))


@pytest.mark.usefixtures("here")
def test_the_folder_is_private_and_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("a" * (94 - len(str(tmp_path))))
    temporary(monkeypatch, long)
    folder = Path(session.begin())
    assert len(f"{folder}{OF_RAY}") <= LONGEST_SOCKET
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


@pytest.mark.usefixtures("here")
def test_a_short_place_is_used_if_others_cannot_rename_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Path(f"/tmp/{os.getpid()}")
    temporary(monkeypatch, place)
    try:
        for mode, wanted in ((0o755, place), (0o1777, place), (0o777, Path("/tmp"))):
            place.chmod(mode)
            folder = Path(session.begin())
            assert folder.parent.parent == wanted
            folder.parent.rmdir()
        monkeypatch.setattr(session, "_folder", None)
    finally:
        place.rmdir()


@pytest.mark.usefixtures("here")
def test_what_is_swept_is_old_and_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "archive-tagger-old", tmp_path / "archive-tagger-new"
    mine, link = tmp_path / "mine", tmp_path / "archive-tagger-link"
    for folder in (old, new, mine):
        folder.mkdir()
    link.symlink_to(mine)
    long_ago = time.time() - session.KEPT_S - 60
    for path in (old, mine, link):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    session._sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [link.name, new.name, mine.name]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[Path, str, Path, int]]:
    """A Ray as a job starts it, in an environment with a long TMPDIR."""
    long = tmp_path / ("a" * (94 - len(str(tmp_path))))
    long.mkdir()
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"TMPDIR": str(long), "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", RAY], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        assert job.stdin is not None
        assert job.stdout is not None
        folder, address, store = json.loads(job.stdout.readline())
        yield Path(folder), address, Path(store), job.pid
        job.stdin.close()
        assert job.wait(60) == 0


def answer(address: str, token: str) -> grpc.StatusCode:
    """What the head answers to somebody with this token, from whatever user."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")
        try:
            call(b"", timeout=10.0, metadata=[("authorization", f"Bearer {token}")])
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.ray
def test_another_user_can_do_nothing_with_a_running_ray(
    running: tuple[Path, str, Path, int], drop_root: Callable[[], None]
) -> None:
    folder, address, store, pid = running
    assert store.is_socket()
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700

    def connect() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(store))

    attempts: list[Callable[[], Any]] = [
        connect,
        lambda: list(folder.iterdir()),
        lambda: list(folder.parent.iterdir()),
        lambda: store.rename(store.with_name("other")),
        lambda: folder.rename(folder.with_name("other")),
        lambda: folder.parent.rename(folder.parent.with_name("other")),
        lambda: (folder / "session_latest" / "logs" / "raylet.out").read_bytes(),
        lambda: Path(f"/proc/{pid}/environ").read_bytes(),
    ]
    connect()  # its own user can

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    token = next(
        value for process in family if (value := process.environ().get("RAY_AUTH_TOKEN", ""))
    )
    assert not any(token in word for process in family for word in process.cmdline())
    assert answer(address, token) == grpc.StatusCode.OK
    assert answer(address, "another") == grpc.StatusCode.UNAUTHENTICATED

    if os.geteuid() == 0:  # an ordinary user cannot become another one
        drop_root()
        for attempt in attempts:
            with pytest.raises(PermissionError):
                attempt()
