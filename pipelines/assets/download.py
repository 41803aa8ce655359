"""One file over HTTPS, whole or not at all.

A file arrives under its name with ``.part`` and is renamed when it is complete and its checksum is
right. What broke off is taken up where it ended, also by a later run, if a checksum is there to
tell in the end that both halves belong together; otherwise it begins anew.

Own code, since none of pooch, fsspec, requests, urllib3 and torch.hub takes up what broke off: they
begin a file of several GB anew, and most of them give up at the first error. ``urllib`` knows the
system's proxies and certificates.

Errors: ``CommandError`` for what another try cannot mend, ``StoreUnavailable`` for a server that
does not answer or a full disk, ``AccessDenied`` for a folder that may not be written.
"""

import errno
import http.client
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from pipelines.runtime.progress import Progress
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
    n_before = transfer.size()
    if not (checksum and checksum.matches(transfer.part)):
        transfer.run(patience_s)
        if n_before and checksum and not checksum.matches(transfer.part):
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
        self._name = target.name
        self._resumable = resumable
        self._max_bytes = max_bytes
        if not resumable:
            self.forget()

    def size(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def forget(self) -> None:
        """Throw away what is here."""
        with writing(self.part):
            self.part.unlink(missing_ok=True)

    def run(self, patience_s: float) -> None:
        """Ask until the file is whole; every answer that brings it further renews the patience."""
        longest = self.size()
        with Progress(self._name, "B", n_before=longest) as progress:

            def ask() -> bool:
                """Whether the file is whole now; raises what passes if it is no further."""
                nonlocal longest
                try:
                    self._ask(progress)
                except _RangeRefusedError:
                    self.forget()
                    longest = 0
                    raise
                except (ConnectionError, TimeoutError):
                    if self.size() <= longest:
                        raise
                    longest = self.size()
                    return False
                return True

            while not with_retries(ask, self._url, patience_s):
                pass

    def _ask(self, progress: Progress) -> None:
        """One request for what is not here yet; ``ConnectionError`` if its answer breaks off."""
        start = self.size() if self._resumable else 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        with _answers(self._url), _opened(self._url, headers) as response:
            start, progress.total = _extent(response, start)
            self._bound(progress.total or 0)
            size = self._write(response, start, progress)
        if progress.total is not None and size != progress.total:
            raise ConnectionError(f"broke off after {size:,} of {progress.total:,} bytes")

    def _write(self, response: http.client.HTTPResponse, size: int, progress: Progress) -> int:
        """Write the body behind the first ``size`` bytes; returns the size then."""
        with writing(self.part):
            file = self.part.open("r+b" if size else "wb")
            file.seek(size)
        with file:
            while chunk := response.read1(CHUNK):  # what has come, so that it is kept
                size += len(chunk)
                self._bound(size)
                with writing(self.part):
                    file.write(chunk)
                progress.show(size)
            with writing(self.part):
                file.flush()
                os.fsync(file.fileno())
        return size

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            self.forget()
            raise CommandError(f"{self._url} is larger than {self._max_bytes / 1e6:,.0f} MB")


def _extent(response: http.client.HTTPResponse, asked: int) -> tuple[int, int | None]:
    """Where an answer's body begins in the file, and the file's size if the server tells it."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, response.length
    match = _PARTIAL.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != asked:
        raise _RangeRefusedError("sent another part than was asked for")
    return asked, int(match[2])


class _RangeRefusedError(ConnectionError):
    """The server does not give the part that was asked for: what is here is of another file."""


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
    headers = {"User-Agent": "archive-tagger"} | headers
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 (its scheme was looked at)
    opener = urllib.request.build_opener(_SafeRedirects)
    response: http.client.HTTPResponse = opener.open(request, timeout=ANSWER_S)
    return response
