"""An http server that does what its pages tell it to: real HTTP, and real breaches of it."""

import http.server
import threading
import time
from collections.abc import Callable
from contextlib import suppress

Page = Callable[["Request"], None]


class HostileServer(http.server.ThreadingHTTPServer):
    """Serves ``pages``, functions by path; a path that ends in ``*`` serves all below it.

    Attributes
    ----------
    requests : method and path of each request
    n_sent : bytes of bodies that were sent, by path
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str]] = []
        self.n_sent: dict[str, int] = {}
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def page(self, path: str) -> Page | None:
        for name, page in self.pages.items():
            if path == name or (name.endswith("*") and path.startswith(name[:-1])):
                return page
        return None

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that went away


class Request(http.server.BaseHTTPRequestHandler):
    """A request to be answered."""

    protocol_version = "HTTP/1.1"
    server: HostileServer

    def _serve(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.close_connection = True
        page = self.server.page(self.path)
        if page is None:
            return self.head(404, {"Content-Length": "0"})
        with suppress(OSError):
            page(self)
        return None

    do_GET = do_HEAD = _serve  # noqa: N815

    @property
    def is_head(self) -> bool:
        return self.command == "HEAD"

    def head(self, status: int, headers: dict[str, str]) -> None:
        """Send status and headers."""
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.wfile.write(data)
        self.wfile.flush()
        self.server.n_sent[self.path] = self.server.n_sent.get(self.path, 0) + len(data)

    def forever(self, piece: bytes, pause_s: float = 0.0) -> None:
        """Send a piece again and again, until the client or the server ends."""
        while not self.server.closing.wait(pause_s) if pause_s else True:
            self.send(piece)

    def log_message(self, format: str, *args: object) -> None:
        pass


def plain(data: bytes, *, ranges: bool = True, **more: str) -> Page:
    """A page that serves ``data`` as a good server does."""

    def page(request: Request) -> None:
        asked = request.headers.get("Range") if ranges else None
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        headers = {"Content-Length": str(len(data) - start), "ETag": '"1"'}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        request.head(206 if asked else 200, headers | more)
        if not request.is_head:
            request.send(data[start:])

    return page


def once(first: Page, then: Page) -> Page:
    """A page that answers its first GET in one way, and others in another."""
    gets: list[float] = []

    def page(request: Request) -> None:
        if request.is_head:
            return then(request)
        gets.append(time.monotonic())
        return (first if len(gets) == 1 else then)(request)

    return page
