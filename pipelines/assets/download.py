"""One file over HTTPS, whole or not at all.

A file arrives under its name with ``.part`` and is renamed when it is complete and its checksum is
right. What broke off is taken up where it ended, also by a later run, if a checksum is there to
tell in the end that both halves belong together; otherwise it begins anew.

Errors: ``CommandError`` for what another try cannot mend, ``StoreUnavailable`` for a server that
does not answer or a full disk, ``AccessDenied`` for a folder that may not be written.
"""

import errno
import http.client
import os
import re
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pipelines.runtime.progress import IN_LOG_S, ON_TERMINAL_S, duration
from pipelines.storage.checksums import Checksum
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.retry import with_retries
from pipelines.storage.uris import refuse_credentials
from tagger.errors import CommandError, OptionError

PATIENCE_S: Final = 120.0
ANSWER_S: Final = 30.0  # longest wait for a server's next piece
CHUNK: Final = 2**20

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_PARTIAL: Final = re.compile(r"bytes (\d+)-\d+/(\d+)")


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Around what writes to the local disk: its errors become ours."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise AccessDenied(f"{place}: {error}; check who may write there") from error
        raise StoreUnavailable(f"{place}: {error}") from error


def check_url(url: str, where: str) -> None:
    """Raise ``OptionError`` unless ``url`` is ``https://`` (``http://`` only to this machine)."""
    refuse_credentials(url, where)
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise OptionError(where, f"{url} is no URL: {error}") from error
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not host or not safe:
        raise OptionError(where, f"{url} is no https:// URL")


def download(
    url: str,
    target: Path,
    checksum: Checksum | None,
    max_bytes: int,
    patience_s: float = PATIENCE_S,
) -> None:
    """Bring ``url`` to the file ``target``; one that is there with the right checksum stays.

    Parameters
    ----------
    checksum : None: whatever arrives whole is taken
    max_bytes : a larger file is refused
    patience_s : seconds without any progress after which to give up
    """
    check_url(url, "download")
    with writing(target.parent):
        if checksum and checksum.matches(target):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
    transfer = _Transfer(url, target, checksum is not None, max_bytes)
    resumed = transfer.have() > 0
    if not (checksum and checksum.matches(transfer.part)):
        transfer.run(patience_s)
        if resumed and checksum and not checksum.matches(transfer.part):
            transfer.forget()  # the earlier half was of another file
            transfer.run(patience_s)
    if checksum:
        try:
            checksum.require(transfer.part, url)
        except CommandError:
            transfer.forget()
            raise
    with writing(target):
        transfer.part.replace(target)


def read_small(url: str, max_bytes: int, patience_s: float = PATIENCE_S) -> bytes:
    """The bytes of a short answer, such as a JSON record; errors as of ``download``."""
    check_url(url, "download")

    def attempt() -> bytes:
        with _answers(url), _opened(url, {"Accept": "application/json"}) as response:
            expected = response.length
            data = response.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise CommandError(f"{url}: answered with more than {max_bytes:,} bytes")
        if expected is not None and len(data) < expected:
            raise ConnectionError(f"broke off after {len(data):,} of {expected:,} bytes")
        return data

    return with_retries(attempt, url, patience_s)


class _Transfer:
    """One file under way to ``<target>.part``."""

    def __init__(self, url: str, target: Path, resumable: bool, max_bytes: int) -> None:
        self.part = target.with_name(f"{target.name}.part")
        self._url = url
        self._resumable = resumable
        self._max_bytes = max_bytes
        self._most = 0  # bytes that the file has ever had
        self._line = Line(target.name)
        if not resumable:
            self.forget()

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def forget(self) -> None:
        with writing(self.part):
            self.part.unlink(missing_ok=True)
        self._most = 0

    def run(self, patience_s: float) -> None:
        """Request until it is whole; every request that brings it further renews the patience."""
        self._most = self.have()
        while not with_retries(self._request, self._url, patience_s):
            pass
        self._line.end()

    def _request(self) -> bool:
        """One request; returns whether the file is whole, raises when it is no further."""
        start = self.have() if self._resumable else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with _answers(self._url), _opened(self._url, headers) as response:
                self._take(response, start)
        except _RangeRefusedError:
            self.forget()
            raise
        except (ConnectionError, TimeoutError):
            if self.have() <= self._most:
                raise
            self._most = self.have()
            return False
        return True

    def _take(self, response: http.client.HTTPResponse, start: int) -> None:
        """Write the body; ``ConnectionError`` if it is shorter than was announced."""
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            match = _PARTIAL.fullmatch(response.headers.get("Content-Range", ""))
            if match is None or int(match[1]) != start:
                self.forget()
                raise ConnectionError("sent another part than was asked for")
            total: int | None = int(match[2])
        else:
            start, total = 0, response.length
        self._bound(total or 0)
        with writing(self.part):
            file = self.part.open("r+b" if start else "wb")
            file.seek(start)
        with file:
            size = self._write(response, file, start, total)
        if total is not None and size != total:
            raise ConnectionError(f"broke off after {size:,} of {total:,} bytes")

    def _write(
        self, response: http.client.HTTPResponse, file: IO[bytes], size: int, total: int | None
    ) -> int:
        while chunk := response.read(CHUNK):
            size += len(chunk)
            self._bound(size)
            with writing(self.part):
                file.write(chunk)
            self._line.show(size, total)
        with writing(self.part):
            file.flush()
            os.fsync(file.fileno())
        return size

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            self.forget()
            raise CommandError(f"{self._url} is larger than {self._max_bytes / 1e6:,.0f} MB")


class _RangeRefusedError(ConnectionError):
    """The server has no such part of the file: what is here belongs to another one."""


@contextmanager
def _answers(url: str) -> Iterator[None]:
    """Around a request: what may pass becomes ``ConnectionError``, the rest ``CommandError``."""
    try:
        yield
    except HTTPError as error:
        error.close()
        raise _refusal(url, error) from error
    except URLError as error:
        raise _no_way(url, error.reason) from error
    except (StoreUnavailable, AccessDenied, ConnectionError, TimeoutError):
        raise
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def _refusal(url: str, error: HTTPError) -> Exception:
    said = f"answered {error.code} {error.reason}"
    if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return _RangeRefusedError(said)
    if error.code in (408, 429) or error.code >= 500:
        return ConnectionError(said)
    return CommandError(f"{url} {said}; fetch it in another way and give the local file")


def _no_way(url: str, reason: str | BaseException) -> Exception:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return CommandError(f"{url}: {reason}")
    if isinstance(reason, socket.gaierror):
        return StoreUnavailable(
            f"{url}: no such host, or no way to it ({reason.strerror}); fetch it on another "
            "machine and give the local file"
        )
    return ConnectionError(str(reason))


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirections only to where a download may go; what they sign stays unsaid."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        to, at = urlsplit(newurl), urlsplit(req.full_url)
        within = to.scheme == "http" and {to.hostname, at.hostname} <= {*_LOOPBACK}
        if to.scheme != "https" and not within:
            fp.close()
            raise CommandError(f"{at.hostname} sends on to {to.scheme}://{to.hostname}: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opened(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    request = urllib.request.Request(url, headers={"User-Agent": "archive-tagger"} | headers)
    opener = urllib.request.build_opener(_SafeRedirects)
    response: http.client.HTTPResponse = opener.open(request, timeout=ANSWER_S)
    return response


class Line:
    """How far a download is, on standard error; replaced in place on a terminal."""

    def __init__(self, name: str, interval_s: float | None = None) -> None:
        self._name = name
        self._interactive = sys.stderr.isatty()
        self._interval_s = interval_s or (ON_TERMINAL_S if self._interactive else IN_LOG_S)
        self._start = self._shown = time.monotonic()
        self._from: int | None = None

    def show(self, size: int, total: int | None) -> None:
        """Tell of ``size`` bytes of ``total``, now and then."""
        now = time.monotonic()
        if self._from is None:
            self._from = size
        if now - self._shown < self._interval_s:
            return
        self._shown = now
        speed = max(size - self._from, 1) / (now - self._start)
        text = f"{self._name}: {size / 1e6:,.1f} MB, {speed / 1e6:.1f} MB/s"
        if total:
            text += f", {duration((total - size) / speed)} left of {total / 1e6:,.1f} MB"
        sys.stderr.write(f"\r\x1b[K{text}" if self._interactive else f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._interactive and self._shown > self._start:
            sys.stderr.write("\n")
