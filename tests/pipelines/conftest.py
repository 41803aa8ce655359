"""Real servers on loopback that fail when told to: HTTP, and a proxy before S3."""

import http.server
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.s3_proxy import S3Proxy
from tests.support.s3_server import S3Server

_Server = TypeVar("_Server", bound=http.server.ThreadingHTTPServer)


class FileServer(http.server.ThreadingHTTPServer):
    """Serves ``files`` by path, with ranges.

    Attributes
    ----------
    faults : per path, one for each coming request: ``cut:N`` ends the connection after N bytes of
        the body, ``hold:N`` sends no more then, ``503`` and other numbers are answered, ``whole``
        ignores the asked range, ``silent-length`` gives no length, ``to:URL`` redirects; with
        ``*`` in front it stays
    requests : of each request its path and the range it asked for
    """

    daemon_threads = True
    allow_reuse_address = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault(self, path: str) -> str:
        waiting = self.faults[path]
        if not waiting:
            return ""
        return waiting[0][1:] if waiting[0].startswith("*") else waiting.pop(0)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        kind, _, argument = self.server.fault(self.path).partition(":")
        data = self.server.files.get(self.path)
        self.close_connection = True
        if kind.isdigit() or data is None:
            return self._answer(int(kind or 404), {"Content-Length": "0"})
        if kind == "to":
            return self._answer(302, {"Location": argument, "Content-Length": "0"})
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and kind != "whole" else 0
        if start and start >= len(data):
            return self._answer(416, {"Content-Range": f"bytes */{len(data)}"})
        headers = {} if kind == "silent-length" else {"Content-Length": str(len(data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._answer(206 if start else 200, headers)
        body = data[start:]
        self.wfile.write(body[: int(argument)] if kind in ("cut", "hold") else body)
        if kind == "hold":
            self.server.closing.wait(10)
        return None

    def _answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class FolderServer(http.server.ThreadingHTTPServer):
    """Serves and lists a folder as Python's own server does: with HEAD, without ranges.

    Attributes
    ----------
    faults : numbers that the coming requests are answered with
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _FolderHandler)
        self.folder = folder
        self.faults: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _FolderHandler(http.server.SimpleHTTPRequestHandler):
    server: FolderServer

    def parse_request(self) -> bool:
        self.directory = str(self.server.folder)
        if not super().parse_request():
            return False
        if self.server.faults:
            self.send_error(self.server.faults.pop(0))
            return False
        return True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """Before the S3 server; all S3 traffic of the test passes through it. It has no faults yet."""
    through = S3Proxy(0, s3.ports[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL", through.url)
    yield through
    through.close()


@pytest.fixture
def folder_server(tmp_path: Path) -> Iterator[FolderServer]:
    """Of the folder ``served`` in ``tmp_path``."""
    (tmp_path / "served").mkdir()
    with _serving(FolderServer(tmp_path / "served")) as server:
        yield server


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with _serving(FileServer()) as server:
        yield server
        server.closing.set()


@contextmanager
def _serving(server: _Server) -> Iterator[_Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
