"""Stores keep what the log rests on: whole writes, one winner, errors that say what to do."""

import os
import pickle
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import pytest

from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import LocalStore, open_store
from tagger.errors import CommandError


def test_reads_what_was_written(out_url: str) -> None:
    store = pickle.loads(pickle.dumps(open_store(out_url)))
    assert store.list("a") == []
    store.write("a/b/2", b"two")
    store.write("a/1", b"one")
    store.write("a/1", b"one again")
    store.write("ab", b"not below a")
    assert store.list("a") == ["a/1", "a/b/2"]
    assert store.read("a/1") == b"one again"
    assert store.scan("a/b/2", lambda file: (file.seek(1), file.read())[1]) == b"wo"
    assert [store.read_range("a/1", 4, end) for end in (5, 9, 99)] == [b"a", b"again", b"again"]
    store.remove(["a/1", "a/missing"])
    store.remove([])
    assert store.list("a") == ["a/b/2"]
    for absent in ("a/1", "nowhere/at/all"):
        with pytest.raises(FileNotFoundError):
            store.read(absent)
        with pytest.raises(FileNotFoundError):
            store.scan(absent, lambda file: file.read())
        with pytest.raises(FileNotFoundError):
            store.read_range(absent, 0, 1)


def test_root_may_hold_special_characters(out_url: str) -> None:
    store = open_store(out_url + "/a [b]*? #ü%")
    store.write("x/1", b"1")
    assert store.create("x/2", b"2")
    assert store.list("x") == ["x/1", "x/2"]
    store.remove(["x/1"])
    assert store.list("x") == ["x/2"]
    assert store.read("x/2") == b"2"


def test_write_of_102_mib_is_whole(out_url: str) -> None:
    """Larger than one PUT: a multipart upload on S3."""
    store = open_store(out_url)
    data = bytes(range(256)) * (408 << 10)
    store.write("large", data)
    assert store.read("large") == data
    store.remove(["large"])


def test_create_has_one_winner_among_threads(out_url: str) -> None:
    for round_ in range(3):
        start = threading.Barrier(8)

        def race(who: int, path: str, start: threading.Barrier) -> bool:
            store = open_store(out_url)
            start.wait()
            return store.create(path, f"{who}".encode() * 1000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda who: race(who, f"n/{round_}", start), range(8)))  # noqa: B023
        assert sum(won) == 1
        assert open_store(out_url).read(f"n/{round_}") == f"{won.index(True)}".encode() * 1000


def _race_of_process(args: tuple[str, int]) -> list[bool]:
    url, who = args
    store = open_store(url)
    return [store.create(f"n/{n}", f"{who}".encode()) for n in range(10)]


def test_create_has_one_winner_among_processes(out_url: str) -> None:
    with get_context("spawn").Pool(3) as pool:
        won = pool.map(_race_of_process, [(out_url, who) for who in range(3)])
    store = open_store(out_url)
    for n, winners in enumerate(zip(*won, strict=True)):
        assert sum(winners) == 1
        assert store.read(f"n/{n}") == f"{winners.index(True)}".encode()


def test_create_repeated_after_a_lost_answer_has_won(out_url: str) -> None:
    store = open_store(out_url)
    assert store.create("n/1", b"mine")
    assert store.create("n/1", b"mine")  # what a retry inside the client does
    assert not store.create("n/1", b"another's")


@pytest.mark.parametrize(
    "url", ["gs://bucket/x", "s3://", "s3://key:secret@bucket/x", "https://host/x"]
)
def test_refuses_what_it_cannot_write_to(url: str) -> None:
    with pytest.raises(CommandError) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_refuses_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError):
        open_store(str(tmp_path / "file"))


def test_refuses_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"/file is a file: give a folder"):
        open_store(str(tmp_path / "file" / "x" / "y"))


@pytest.mark.parametrize("url", ["", "file://"])
def test_refuses_empty_text(url: str) -> None:
    with pytest.raises(CommandError, match="empty"):
        open_store(url)


def test_refuses_the_home_of_nobody() -> None:
    with pytest.raises(CommandError, match=r"^~no such user/x names no folder"):
        open_store("~no such user/x")


def test_a_folder_that_may_not_be_read_is_not_empty(
    tmp_path: Path, drop_root: Callable[[], None]
) -> None:
    folder = tmp_path / "out"
    open_store(str(folder)).write("clips/1", b"")
    folder.chmod(0)
    drop_root()
    with pytest.raises(AccessDenied, match="check who may read"):
        LocalStore(str(folder)).list("clips")
    with pytest.raises(CommandError, match="names no folder"):
        open_store(str(folder / "below"))
    with suppress(PermissionError):
        folder.chmod(0o700)  # its owner cannot remove it otherwise


def test_a_file_where_a_folder_should_be_is_told(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("clips", b"")
    assert store.list("missing") == []
    with pytest.raises(StoreUnavailable):
        store.list("clips")


def test_relative_paths_and_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("out").root == str(tmp_path / "out")
    assert open_store(f"file://{tmp_path}/out").root == str(tmp_path / "out")


def test_wrong_credentials_are_told_at_once(s3: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store("s3://tests/denied")
    retries = RetryCount()
    for action in (
        lambda: store.write("x", b""),
        lambda: store.create("x", b""),
        lambda: store.read("x"),
        lambda: store.list(""),
        lambda: store.scan("x", lambda file: file.read()),
        lambda: store.remove(["x"]),
    ):
        with pytest.raises(AccessDenied, match=r"AWS_ACCESS_KEY_ID|credentials"):
            action()
    assert retries.n == 0


def test_no_credentials_are_told_at_once(
    s3: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(AccessDenied):
        open_store("s3://tests/denied").write("x", b"")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessDenied):
        open_store("s3://tests/denied").write("x", b"")


def test_missing_bucket(s3: object) -> None:
    with pytest.raises(FileNotFoundError):
        open_store("s3://no-such-bucket/x").write("x", b"")


def test_dead_server_is_retried_then_told(monkeypatch: pytest.MonkeyPatch, s3: object) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    store = open_store("s3://tests/x", patience_s=6.0)
    retries = RetryCount()
    with pytest.raises(StoreUnavailable):
        store.write("x", b"")
    assert retries.n >= 1


def test_failed_local_write_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a/1", b"old")
    (tmp_path / "a/2").mkdir()
    with pytest.raises(StoreUnavailable):
        store.write("a/2", b"a folder is in the way")
    assert store.list("") == ["a/1"]


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("a", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StoreUnavailable):
            store.write("a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.read("a") == b"old"
    assert store.list("") == ["a"]


def test_sweep_removes_only_old_leftovers(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.write("_tmp/old", b"")
    store.write("_tmp/new", b"")
    os.utime(tmp_path / "_tmp/old", (0, 0))
    store.sweep()
    assert store.list("") == ["_tmp/new"]
