"""The courtesy lock: refuses a second job, follows a dead one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.output.lock import Lock, is_alive, is_broken
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError

OWNER = """
import sys
from pipelines.output.lock import Lock
from pipelines.storage.store import open_store
with Lock(open_store(sys.argv[1]), "m-1", "run-1", beat_s=0.2):
    print("held", flush=True)
    sys.stdin.read()
"""
Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def start_owner() -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, url],
            cwd=Path(__file__).parents[3],
            env=os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        with process:
            process.kill()


def lock(store: Store, run_id: str = "run-2", silence_s: float = 3.0) -> Lock:
    return Lock(store, "m-1", run_id, beat_s=0.2, silence_s=silence_s)


def owner_of(store: Store) -> str:
    return str(json.loads(store.read("_lock/m-1.json"))["run_id"])


def test_is_held_and_given_back(out_url: str) -> None:
    store = open_store(out_url)
    for _ in range(2):
        with lock(store) as held:
            first = store.read("_lock/m-1.json")
            time.sleep(0.6)
            assert store.read("_lock/m-1.json") != first
            with lock_of_another_model(store):
                pass
        assert not held.lost
        assert store.list("_lock") == []


def lock_of_another_model(store: Store) -> Lock:
    return Lock(store, "m-2", "run-2")


def test_second_job_is_refused(out_url: str, start_owner: Start) -> None:
    start_owner(out_url)
    store = open_store(out_url)
    with pytest.raises(CommandError, match="run-1"), lock(store):
        pass
    assert owner_of(store) == "run-1"


def test_killed_owner_is_followed_at_once(out_url: str, start_owner: Start) -> None:
    owner = start_owner(out_url)
    owner.kill()
    store = open_store(out_url)
    with lock(store, silence_s=1000):  # its parent, this test, has not asked for its end yet
        assert owner_of(store) == "run-2"
    assert store.list("_lock") == []


def test_silent_owner_is_followed_and_notices(out_url: str, start_owner: Start) -> None:
    """Stopped, not dead: when it goes on, it leaves the lock to the new owner."""
    owner = start_owner(out_url)
    os.kill(owner.pid, signal.SIGSTOP)
    store = open_store(out_url)
    began = time.monotonic()
    with lock(store, silence_s=1.5) as held:
        assert time.monotonic() - began >= 1.5
        os.kill(owner.pid, signal.SIGCONT)
        time.sleep(1.0)
        owner.communicate()  # ends its input, and so its work
        assert owner_of(store) == "run-2"
        assert not held.lost


def test_owner_on_another_host_is_watched(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    there = {"owner": "x", "run_id": "run-1", "host": "elsewhere/1/2", "pid": 1, "beat": 7}
    store.write("_lock/m-1.json", json.dumps(there).encode())
    began = time.monotonic()
    with lock(store, silence_s=1.0):
        assert time.monotonic() - began >= 1.0


def test_life_on_another_host_is_seen_by_its_beat(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    there = {"owner": "x", "run_id": "run-1", "host": "elsewhere/1/2", "pid": 1, "started": "1"}
    store.write("_lock/m-1.json", json.dumps(there | {"beat": 7}).encode())
    assert not is_alive(store, "m-1", "run-1", silence_s=1.5)
    beat = json.dumps(there | {"beat": 8}).encode()
    timer = threading.Timer(1.0, store.write, ("_lock/m-1.json", beat))
    timer.start()
    assert is_alive(store, "m-1", "run-1", silence_s=60)
    timer.join()
    assert not is_alive(store, "m-1", "another run", silence_s=60)


def test_lock_given_back_while_it_is_watched_is_no_death(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(tmp_path))
    there = {"owner": "x", "run_id": "run-1", "host": "elsewhere/1/2", "pid": 1, "beat": 7}
    store.write("_lock/m-1.json", json.dumps(there).encode())
    timer = threading.Timer(0.5, store.remove, (["_lock/m-1.json"],))
    timer.start()
    with lock(store, silence_s=1000):
        assert owner_of(store) == "run-2"
    timer.join()
    assert caplog.messages == []


def test_removed_lock_is_made_anew(out_url: str) -> None:
    store = open_store(out_url)
    with lock(store) as held:
        store.remove(["_lock/m-1.json"])
        time.sleep(0.6)
        assert owner_of(store) == "run-2"
        assert not held.lost
    assert store.list("_lock") == []


def test_lost_lock_is_told(tmp_path: Path) -> None:
    """Removed by hand, and taken by another job before the next beat."""
    store = open_store(str(tmp_path))
    with lock(store) as held:
        another = Lock(store, "m-1", "run-3", beat_s=0.2)
        store.write("_lock/m-1.json", another._content())
        time.sleep(0.6)
        assert held.lost
    assert owner_of(store) == "run-3"


BROKEN = {
    "empty": b"",
    "cut": b'{"owner": "x", "run_',
    "no JSON": b"locked by Anna",
    "no object": b"[]",
    "wrong fields": b'{"owner": "x"}',
    "wrong types": b'{"owner": 1, "run_id": [], "host": {}, "pid": "1", "started": 7}',
    "a path for a pid": b'{"owner": "x", "run_id": "r", "host": "h", "pid": "../1"}',
    "binary": bytes(range(256)),
    "deep": b"[" * 100_000,
    "a list of pairs": b'[["owner", "x"]]',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_lock_is_that_of_nobody(out_url: str, content: bytes) -> None:
    store = open_store(out_url)
    store.write("_lock/m-1.json", content)
    assert is_broken(store, "m-1")
    assert not is_alive(store, "m-1", "run-1")
    began = time.monotonic()
    with lock(store, silence_s=0.5) as held:
        assert time.monotonic() - began >= 0.5, "its owner had time to make it anew"
        assert owner_of(store) == "run-2"
    assert not held.lost
    assert store.list("_lock") == []


def test_a_lock_that_breaks_is_made_anew_by_its_owner(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with lock(store) as held:
        whole = store.read("_lock/m-1.json")
        for broken in (b"", whole[:-9], whole.replace(b"run-2", b"run-3")):
            store.write("_lock/m-1.json", broken)
            time.sleep(0.6)
            assert owner_of(store) == "run-2"
        assert not held.lost
    assert store.list("_lock") == []


def test_a_broken_lock_whose_owner_lives_refuses_a_second_job(
    tmp_path: Path, start_owner: Start
) -> None:
    start_owner(str(tmp_path))
    store = open_store(str(tmp_path))
    store.write("_lock/m-1.json", b"")
    with pytest.raises(CommandError, match="run-1"), lock(store, silence_s=60):
        pass
