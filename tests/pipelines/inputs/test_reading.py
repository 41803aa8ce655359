"""Reading the listed version of a clip, from real folders and a real S3 server with faults."""

import os
import re
import socket
import struct
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.inputs import reading
from pipelines.inputs.access import Access
from pipelines.inputs.listing import gather
from pipelines.inputs.reading import open_clip, prefetch
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.filesystems import filesystem
from pipelines.storage.retry import RetryCount
from pipelines.storage.uris import split_s3
from tagger.errors import ClipError, Reason, Stage


def content(clips: pa.Table, **options: Any) -> list[bytes | Reason]:
    """What each clip reads as, through ``prefetch``."""
    got: list[bytes | Reason] = []
    for clip in prefetch(clips, **options):
        try:
            with clip as source:
                got.append(source if isinstance(source, bytes) else source.read_bytes())
        except ClipError as error:
            assert error.stage is Stage.READ
            got.append(error.reason)
    return got


def clip_of(uri: str) -> dict[str, Any]:
    (row,) = gather([uri]).to_pylist()
    return {name: row[name] for name in ("uri", "version", "size_bytes")}


def reason(clip: dict[str, Any]) -> Reason:
    with pytest.raises(ClipError) as caught, open_clip(**clip):
        pass
    assert caught.value.stage is Stage.READ
    return caught.value.reason


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything above 1 KiB is large, so that tests need no 64 MiB."""
    monkeypatch.setattr(reading, "IN_MEMORY_BYTES", 1 << 10)
    monkeypatch.setattr(reading, "RANGE_BYTES", 1000)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3), "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3").new_prefix())
    return str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def put(place: str, name: str, data: bytes) -> str:
    if "://" not in place:
        Path(place, name).write_bytes(data)
    elif place.startswith("s3"):
        bucket, key = split_s3(f"{place}/{name}")
        filesystem(place).call_s3("put_object", Bucket=bucket, Key=key, Body=data)
    else:
        filesystem(place).pipe_file(f"{place}/{name}", data)
    return f"{place}/{name}"


def remove(uri: str) -> None:
    filesystem(uri).rm_file(uri) if "://" in uri else Path(uri).unlink()


def test_small_and_large_clips(place: str, small_limits: None, tmp_path: Path) -> None:
    contents = {
        f"{i}ü #%?.wav": os.urandom(size) for i, size in enumerate([0, 1, 1024, 1025, 2000, 12345])
    }
    for name, data in contents.items():
        put(place, name, data)
    clips = gather([place]).sort_by("uri")
    spool = tmp_path / "spool"
    spool.mkdir()
    assert content(clips, spool_dir=spool) == list(contents.values())
    kinds = []
    for row in clips.select(["uri", "version", "size_bytes"]).to_pylist():
        with open_clip(**row, spool_dir=spool) as source:
            kinds.append(type(source) is bytes)
            assert list(spool.iterdir()) == []  # nothing that a killed worker would leave
            if isinstance(source, Path):
                by_another_process = subprocess.check_output(["cat", source])
                assert by_another_process == contents[Path(row["uri"]).name]
    assert kinds == [True, True, True, False, False, False]


@pytest.mark.parametrize("place", ["memory"], indirect=True)
def test_a_clip_that_does_not_fit_the_disk(place: str) -> None:
    clip = clip_of(put(place, "a.wav", b"abc")) | {"size_bytes": 1 << 60}
    with pytest.raises(ClipError, match="do not fit the temporary folder") as caught:
        open_clip(**clip).__enter__()
    assert caught.value.reason is Reason.UNREADABLE


def test_an_http_server_without_ranges_that_fails_at_first(
    folder_server: Any, small_limits: None
) -> None:
    data = os.urandom(2500)
    (folder_server.folder / "a.wav").write_bytes(data)
    clip = clip_of(f"{folder_server.url}/a.wav")
    assert clip["size_bytes"] == 2500
    folder_server.faults = [503, 503]  # HEAD and GET of one look-up
    with open_clip(**clip) as source:
        assert isinstance(source, Path)
        assert source.read_bytes() == data
    assert folder_server.faults == []
    (folder_server.folder / "a.wav").unlink()
    assert reason(clip) is Reason.VANISHED


def test_an_http_server_that_is_down_is_no_clips_failure(folder_server: Any) -> None:
    (folder_server.folder / "a.wav").write_bytes(b"abc")
    clip = clip_of(f"{folder_server.url}/a.wav")
    folder_server.server_close()
    with pytest.raises(StoreUnavailable, match="no answer in 1 s"):
        open_clip(**clip, access=Access(patience_s=1.0)).__enter__()


@pytest.mark.parametrize("size", [100, 5000])
def test_changed_and_vanished(place: str, small_limits: None, size: int) -> None:
    clip = clip_of(put(place, "a.wav", b"a" * size))
    time.sleep(0.01)
    put(place, "a.wav", b"b" * size)
    assert reason(clip) is Reason.CHANGED_DURING_RUN
    remove(f"{place}/a.wav")
    assert reason(clip) is Reason.VANISHED
    assert reason(clip | {"version": "", "size_bytes": 0}) is Reason.VANISHED


def test_a_large_local_clip_that_changes_in_use(tmp_path: Path, small_limits: None) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"a" * 5000)
    for change, wanted in [
        (lambda: path.write_bytes(b"b" * 5000), Reason.CHANGED_DURING_RUN),
        (path.unlink, Reason.VANISHED),
    ]:
        clip = clip_of(str(path))
        with pytest.raises(ClipError) as caught, open_clip(**clip) as source:
            assert source == path
            time.sleep(0.01)
            change()
            raise ClipError(Reason.DECODE_ERROR, "because it changed")
        assert caught.value.reason is wanted
    path.write_bytes(b"a" * 5000)
    with pytest.raises(ClipError, match="decode_error"), open_clip(**clip_of(str(path))):
        raise ClipError(Reason.DECODE_ERROR, "all by itself")


def test_what_is_not_a_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    clip = clip_of(put(str(tmp_path), "a.wav", b"abc"))
    path.unlink()
    path.mkdir()
    assert reason(clip) is Reason.UNREADABLE
    path.rmdir()
    os.mkfifo(path)
    assert reason(clip) is Reason.UNREADABLE


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    clip = clip_of(put(str(tmp_path), "a.wav", b"abc"))
    (tmp_path / "a.wav").unlink()
    (tmp_path / "a.wav").symlink_to("a.wav")  # as unreadable for root as for anyone
    assert reason(clip) is Reason.UNREADABLE


def test_prefetch_keeps_order_and_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AHEAD_BYTES", 300)
    contents = {f"{i:03}.wav": bytes([i]) * (1 + 37 * i % 150) for i in range(100)}
    for name, data in contents.items():
        put(str(tmp_path), name, data)
    clips = gather([str(tmp_path)])
    (tmp_path / "050.wav").unlink()
    contents["050.wav"] = Reason.VANISHED
    assert content(clips, n_threads=3) == list(contents.values())
    assert content(clips.slice(0, 0)) == []


def test_prefetch_can_be_left_early(tmp_path: Path) -> None:
    for i in range(30):
        put(str(tmp_path), f"{i}.wav", b"abc")
    stream = prefetch(gather([str(tmp_path)]))
    with next(stream) as source:
        assert source == b"abc"
    stream.close()
    names = [thread.name for thread in threading.enumerate()]
    deadline = time.monotonic() + 5
    while any(name.startswith("read") for name in names) and time.monotonic() < deadline:
        time.sleep(0.01)
        names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("read") for name in names)


class FaultyProxy:
    """Stands before the S3 server and spoils the first requests that it is told to spoil."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.faults: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            request = client.recv(65536)
            if not request:
                return
            fault = self.faults.pop(0) if self.faults else ""
            if fault == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if fault and fault != "cut":
                status, code = re.fullmatch(r"(\d+) (\S+)", fault).groups()
                body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
                head = f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n"
                client.sendall(f"{head}Connection: close\r\n\r\n{body}".encode())
                return
            request = re.sub(rb"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", request, count=1)
            with socket.create_connection(self.target) as server:
                server.sendall(request)
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
                held = b""  # an answer that is cut lacks its last byte
                while data := server.recv(65536):
                    client.sendall(data if fault != "cut" else held + data[:-1])
                    held = data[-1:]
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)  # wakes the pump

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxy(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(("127.0.0.1", s3.ports[0]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    yield proxy
    proxy.close()


@pytest.mark.s3
def test_transient_faults_are_retried_and_counted(
    s3: Any, proxy: FaultyProxy, small_limits: None
) -> None:
    prefix = s3.new_prefix()
    small, large = put(prefix, "a.wav", b"abc"), put(prefix, "b.wav", os.urandom(5000))
    clips = [clip_of(small), clip_of(large)]
    for clip in clips:
        retries = RetryCount()
        proxy.faults = ["503 SlowDown", "reset", "500 InternalError", "cut"]
        with open_clip(**clip) as source:
            assert (
                len(source if isinstance(source, bytes) else source.read_bytes())
                == (clip["size_bytes"])
            )
        assert proxy.faults == []
        assert retries.n >= 3  # aiohttp itself repeats a request that was reset
    proxy.faults = ["503 SlowDown", "reset"]
    assert len(gather([prefix])) == 2
    assert proxy.faults == []


@pytest.mark.s3
def test_a_store_that_stays_away_ends_the_job(
    s3: Any, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clip_of(put(s3.new_prefix(), "a.wav", b"abc"))
    opened = partial(open_clip, **clip, access=Access(patience_s=1.0))
    proxy.faults = ["503 SlowDown"] * 100
    with pytest.raises(StoreUnavailable, match="no answer in 1 s"), opened():
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match="no answer in 1 s"), opened():
        pass


@pytest.mark.s3
def test_denied_objects_and_denied_credentials_differ(
    s3: Any, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = clip_of(put(s3.new_prefix(), "a.wav", b"abc"))
    proxy.faults = ["403 AccessDenied"]
    assert reason(clip) is Reason.UNREADABLE
    for fault in [
        "403 InvalidObjectState",
        "400 InvalidRequest",
        "400 InvalidArgument",
        "400 KMS.DisabledException",
        "400 KMS.NotFoundException",
    ]:
        proxy.faults = [fault]
        with pytest.raises(ClipError, match=fault.split()[1]) as caught, open_clip(**clip):
            pass
        assert caught.value.reason is Reason.UNREADABLE
    proxy.faults = ["400 ExpiredToken"]
    with pytest.raises(AccessDenied, match="AWS_PROFILE"), open_clip(**clip):
        pass
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessDenied, match="AWS_PROFILE"), open_clip(**clip):
        pass


@pytest.mark.s3
def test_a_bucket_that_is_gone_is_no_clips_failure(s3: Any, proxy: FaultyProxy) -> None:
    clip = clip_of(put(s3.new_prefix(), "a.wav", b"abc"))
    proxy.faults = ["404 NoSuchBucket"]
    with pytest.raises(StoreUnavailable, match="bucket"), open_clip(**clip):
        pass
