"""Stores that repeat what they were told in confidence: none of it is kept or shown."""

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import psutil
import pyarrow.parquet as pq
import pytest

from tests.support.commands import begin
from tests.support.processes import below, title
from tests.support.sounds import write_sound

PLANTED = {
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED12345",
    "AWS_SECRET_ACCESS_KEY": "planted/secret/key+of+forty+characters00",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "RAY_AUTH_TOKEN": "planted-ray-token-of-more-than-32-letters",
    "OTHER_API_KEY": "planted-api-key",
}
SIGNED = "X-Amz-Signature=0123456789abcdef-planted&X-Amz-Security-Token=planted-in-a-redirect"
SECRETS = [*PLANTED.values(), "0123456789abcdef-planted", "planted-in-a-redirect"]

LISTING = """<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated><Contents>
<Key>p/a.wav</Key><ETag>"1"</ETag><Size>100</Size></Contents></ListBucketResult>"""
ERROR = """<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"""


class Server(http.server.ThreadingHTTPServer):
    """S3 and plain http; answers with ``code`` where a recording is asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.code = "AccessDenied"
        self.status = 403
        self.wav = b""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "list-type=2" in self.path:
            self._answer(200, LISTING.encode())
        elif path == "/web/":
            links = ["fails.wav", "leads on.wav", "leads on to an error.wav", f"x.wav?{SIGNED}"]
            self._answer(200, "".join(f'<a href="{link}">x</a>' for link in links).encode())
        elif path in ("/web/leads%20on.wav", "/web/leads%20on%20to%20an%20error.wav"):
            self.send_response(302)
            to = "/good" if path.endswith("on.wav") else "/bad"
            self.send_header("Location", f"{self.server.url}{to}?{SIGNED}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/good":
            self._answer(200, self.server.wav)
        elif path.startswith(("/web/", "/bad")):
            self._answer(400, b"", f"token={SECRETS[-1]}")
        else:
            self._answer(self.server.status, self._error().encode())

    def do_HEAD(self) -> None:
        self.do_GET()

    def _error(self) -> str:
        """What a careless store tells somebody whose request it does not like."""
        heard = [f"{name}: {value}" for name, value in self.headers.items()]
        said = "; ".join([*heard, *PLANTED.values(), f"{self.server.url}/bucket/p/a.wav?{SIGNED}"])
        return ERROR.format(code=self.server.code, message=escape(said))

    def _answer(self, status: int, body: bytes, reason: str | None = None) -> None:
        self.send_response(status, reason)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server()
    server.wav = write_sound(tmp_path / "good" / "good.wav").read_bytes()
    yield server
    server.shutdown()
    server.server_close()


def kept(folder: Path) -> str:
    """All that lies in an output, tables as text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    raw = [path.read_bytes().decode("latin-1") for path in files]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    return "\n".join([*map(str, files), *raw, *tables])


@pytest.mark.parametrize(
    ("code", "status", "exit_code"),
    [
        ("AccessDenied", 403, 4),
        ("InvalidRequest", 400, 4),
        ("SignatureDoesNotMatch", 403, 5),
        ("SlowDown", 503, 6),
        ("Unheard-of", 418, 4),
    ],
)
def test_nothing_that_a_store_repeats_is_kept_or_shown(
    server: Server, tmp_path: Path, code: str, status: int, exit_code: int
) -> None:
    server.code, server.status = code, status
    environment = PLANTED | {"AWS_ENDPOINT_URL": server.url, "AWS_REGION": "x"}
    environment |= {"AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1"}
    environment["HTTPS_PROXY"] = "http://me:planted-in-a-proxy@127.0.0.1:9"
    out = tmp_path / "out"
    job = begin(
        *("tag", "s3://bucket/p/", f"{server.url}/web/", "--out", str(out)),
        *("--store-patience", "2", "--verbose"),
        **environment,
    )
    titles: set[str] = set()
    while job.poll() is None:
        titles |= {title(process) for process in below(job.pid) | {psutil.Process(job.pid)}}
        time.sleep(0.1)
    said = "\n".join(job.communicate())
    assert job.returncode == exit_code, said
    everything = "\n".join([said, kept(out), *titles])
    for secret in [*SECRETS, "planted"]:
        assert secret not in everything.replace(str(tmp_path), "")
    assert "isolation_child" in "".join(titles) or exit_code > 4
    if exit_code == 4:
        reasons = {row["uri"]: row["reason"] for row in failures(out)}
        assert len(reasons) == 3, "the links that fail, and the object; not the one that is signed"


def failures(out: Path) -> list[dict[str, str]]:
    return [
        row
        for path in (out / "failures").rglob("*.parquet")
        for row in pq.read_table(path, columns=["uri", "reason"]).to_pylist()
    ]


def test_urls_with_secrets_are_refused_without_repeating_them(tmp_path: Path) -> None:
    for uri in (
        f"https://host/a.wav?{SIGNED}",
        "s3://AKIAPLANTED12345:planted@bucket/p/",
        "https://me:planted@host/a.wav",
        "abfs://c@a.dfs.core.windows.net/a.wav?sv=1&sig=planted",
    ):
        job = begin("tag", uri, "--out", str(tmp_path / "out"), **os.environ)
        said = "".join(job.communicate())
        assert job.returncode == 2, said
        assert "holds credentials" in said
        assert "planted" not in said.replace(str(tmp_path), "")
        assert not (tmp_path / "out").exists()
