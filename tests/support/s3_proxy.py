"""A proxy before the S3 server that spoils requests when told to: real HTTP, real connections."""

import http.client
import http.server
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What becomes of the requests that match.

    Attributes
    ----------
    kind : ``503 SlowDown`` and the like is answered; ``reset`` before the server hears of it;
        ``lost`` the server does it, the answer is reset; ``cut`` the answer's body stops half way;
        ``slow`` the answer comes in pieces over a second; ``silent`` none comes; ``pass`` nothing
    match : pattern searched for in ``METHOD /bucket/key?query``
    share : of the matching requests that are spoilt
    times : that are spoilt at most
    after : matching requests that pass first
    then : called when one is spoilt
    """

    kind: str
    match: str = ""
    share: float = 1.0
    times: int = 1 << 30
    after: int = 0
    then: Callable[[], object] = bool
    n_matched: int = field(default=0, init=False)


class S3Proxy(http.server.ThreadingHTTPServer):
    """Listens on ``port`` (0: any) and passes on to ``target``, a port of this machine.

    Attributes
    ----------
    faults : looked through in order for each request; the first that wants it has it
    spoilt : how many requests each kind of fault has spoilt
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, target: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.target = target
        self.faults: Sequence[Fault] = ()
        self.spoilt = Counter[str]()
        self.closing = threading.Event()
        self._random = random.Random(1)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def fault(self, request: str) -> Fault | None:
        """Choose what becomes of a request."""
        with self._lock:
            for fault in self.faults:
                if not fault.times or not re.search(fault.match, request):
                    continue
                fault.n_matched += 1
                if fault.n_matched > fault.after and self._random.random() < fault.share:
                    fault.times -= 1
                    self.spoilt[fault.kind] += 1
                    return fault
        return None

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self.close_request(request)  # and no orderly end before it: a reset is to be one

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that went away


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: S3Proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(f"{self.command} {self.path}")
        kind = fault.kind if fault else "pass"
        if fault:
            fault.then()
        if kind == "silent":
            self.server.closing.wait(60)
        if kind in ("reset", "silent"):
            return self._reset()
        if kind[0].isdigit():
            number, code = kind.split()
            error = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
            return self._answer(int(number), [], error.encode())
        try:
            status, headers, answer = self._ask(body)
        except (OSError, http.client.HTTPException):  # the server is down
            return self._reset()
        if kind == "lost":
            return self._reset()
        return self._answer(status, headers, answer, kind)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        try:
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    line.putheader(name, value)
            line.putheader("Connection", "close")
            line.endheaders(body)
            answer = line.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()

    def _answer(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes, kind: str = "pass"
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(name, value)
        length = dict((name.lower(), value) for name, value in headers).get("content-length")
        is_head = self.command == "HEAD"
        if status != 204:
            self.send_header("Content-Length", (length or "0") if is_head else str(len(body)))
        self.end_headers()
        if is_head:
            return
        if kind == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self._end()
            return
        n_pieces = 10 if kind == "slow" else 1
        size = -(-len(body) // n_pieces) or 1
        for start in range(0, len(body), size):
            if kind == "slow":
                time.sleep(0.1)
            self.wfile.write(body[start : start + size])

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    def _end(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def log_message(self, format: str, *args: object) -> None:
        pass
