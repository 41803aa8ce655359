"""Files of http servers: no more of them than was asked for, and from no other host than allowed.

Nothing that a server says is believed before it is seen: not its lengths, not its ranges, not where
it sends on to. Whether a host may be asked is decided by the address that is connected to, anew for
each redirect, whatever its name is or was a moment ago.

fsspec's file system for http is not used for this: it takes whatever a server sends, unpacks it,
follows redirects anywhere, and says "not found" of every failure. Its event loop serves here too.
"""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pipelines.storage.addresses import is_public
from pipelines.storage.bounds import ANSWER_S, take
from pipelines.storage.errors import BrokeOff, NotAsAsked, PrivateHost
from pipelines.storage.uris import scheme_of

if TYPE_CHECKING:
    import aiohttp
    import yarl

N_CONNECTIONS: Final = 64
MOST_REDIRECTS: Final = 10

_FACTS: Final = ("ETag", "Content-MD5", "Digest", "Last-Modified")
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_GONE: Final = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_REFUSED: Final = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_MAY_PASS: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def is_web(uri: str) -> bool:
    return scheme_of(uri) in ("http", "https")


def origin(url: str) -> str:
    """Host and port of a URL; without a port where it names none. "" for what is no URL."""
    from yarl import URL

    try:
        return _origin(URL(url))
    except ValueError:
        return ""


def _origin(url: "yarl.URL") -> str:
    return f"{url.host}:{url.explicit_port or ''}"


@dataclass(frozen=True)
class Reach:
    """Which hosts may be asked.

    Attributes
    ----------
    origins : hosts (``origin``) that may have addresses of private networks; others must be on the
        public internet. None: every host may
    """

    origins: frozenset[str] | None = None

    def names(self, url: str) -> bool:
        """Whether the host of a URL is one of ``origins``."""
        return self.origins is None or origin(url) in self.origins

    def may_be_private(self, url: "yarl.URL") -> bool:
        return self.origins is None or _origin(url) in self.origins


ANYWHERE: Final = Reach()


def look_at(url: str, reach: Reach) -> dict[str, Any]:
    """Size and version of a file as its server tells them, in the words of fsspec's ``info``.

    Raises
    ------
    FileNotFoundError, PermissionError : as the server says
    ConnectionError, TimeoutError : it may pass
    NotAsAsked, PrivateHost : it will not
    """
    info: dict[str, Any] = _wait(_look_at, url, reach)
    return info


def fetch(
    url: str,
    write: Callable[[bytes], object],
    reach: Reach,
    *,
    size_bytes: int | None,
    most_bytes: int,
    start: int = 0,
) -> None:
    """Pass a file on to ``write``, from byte ``start`` on.

    Parameters
    ----------
    size_bytes : of the whole file; None where nobody knows
    most_bytes : of the whole file, where nobody knows its size

    Raises
    ------
    as ``look_at``, and
    TooMuch : the file is larger than ``size_bytes`` or ``most_bytes``
    BrokeOff : it ends before ``size_bytes``, or comes too slowly
    """
    _wait(_fetch, url, write, reach, size_bytes, most_bytes, start)


async def _look_at(url: str, reach: Reach) -> dict[str, Any]:
    info: dict[str, Any] = {"size": None}
    for method in ("HEAD", "GET"):  # some servers know no HEAD, or tell a size with GET only
        try:
            async with asyncio.timeout(ANSWER_S), _answer(method, url, reach) as answer:
                info |= _facts(answer.headers)
        except (FileNotFoundError, PermissionError, NotAsAsked):
            if method == "GET":
                raise
        except TimeoutError as error:
            raise TimeoutError(f"no answer in {ANSWER_S:.0f} s") from error
        if info["size"] is not None:
            break
    return {"name": url, **info, "type": "file"}


def _facts(headers: Mapping[str, str]) -> dict[str, Any]:
    """What the headers of an answer tell of a file."""
    facts: dict[str, Any] = {name: headers[name] for name in _FACTS if headers.get(name)}
    length = headers.get("Content-Length", "")
    if not _packed(headers) and length.isascii() and length.isdigit():
        facts["size"] = int(length)
    return facts


async def _fetch(
    url: str,
    write: Callable[[bytes], object],
    reach: Reach,
    size_bytes: int | None,
    most_bytes: int,
    start: int,
) -> None:
    import aiohttp

    end = most_bytes if size_bytes is None else size_bytes
    headers = {"Range": f"bytes={start}-"} if start else {}
    waiting = asyncio.timeout(ANSWER_S)
    try:
        async with waiting, _answer("GET", url, reach, headers) as answer:
            waiting.reschedule(None)  # from here on the body has limits of its own
            skip = _skipped(answer, start, size_bytes)
            try:
                n_bytes = await take(answer.content.iter_any(), end - start, write, skip)
            except aiohttp.ClientError as error:
                raise BrokeOff("the answer broke off") from error
    except TimeoutError as error:
        raise TimeoutError(f"no answer in {ANSWER_S:.0f} s") from error
    if size_bytes is not None and start + n_bytes < size_bytes:
        raise BrokeOff(f"the answer ended after {start + n_bytes:,} of {size_bytes:,} bytes")


def _skipped(answer: "aiohttp.ClientResponse", start: int, size_bytes: int | None) -> int:
    """Bytes of the body in front of ``start``; NotAsAsked where the headers tell another file."""
    if packing := _packed(answer.headers):
        raise NotAsAsked(f"the server packs its answer ({packing}) although asked not to")
    partial = answer.status == HTTPStatus.PARTIAL_CONTENT
    length = _facts(answer.headers).get("size")
    if partial:
        told = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        wanted = (str(start), str(size_bytes - 1), str(size_bytes)) if size_bytes else ()
        if not start or told is None or told.groups() != wanted:
            raise NotAsAsked("the server sends another range than it was asked for")
    expected = None if size_bytes is None else size_bytes - start if partial else size_bytes
    if None not in (length, expected) and length != expected:
        raise NotAsAsked(f"the server sends {length:,} bytes and not {expected:,}, as it had told")
    return 0 if partial else start


def _packed(headers: Mapping[str, str]) -> str:
    """How an answer is packed; "" where it is not."""
    packing = headers.get("Content-Encoding", "").strip().lower()
    return "" if packing == "identity" else packing


@asynccontextmanager
async def _answer(
    method: str, url: str, reach: Reach, headers: Mapping[str, str] | None = None
) -> "AsyncIterator[aiohttp.ClientResponse]":
    """The answer that a request leads to, over redirects to allowed hosts; its body is to come."""
    import aiohttp
    from yarl import URL

    try:
        at = URL(url)
        for _ in range(MOST_REDIRECTS + 1):
            session = await _files(os.getpid(), not reach.may_be_private(at)).set_session()
            asked = session.request(method, at, headers=headers, allow_redirects=False)
            async with asked as answer:
                to = answer.headers.get("Location")
                if answer.status not in _REDIRECTS or not to:
                    _check(answer)
                    yield answer
                    return
            at = at.join(URL(to))
            if at.scheme not in ("http", "https"):
                raise NotAsAsked(f"the server sends on to {at.scheme}://: not followed")
    except aiohttp.InvalidURL as error:
        raise NotAsAsked("no URL of a host") from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise NotAsAsked("its certificate is not accepted") from error
    except aiohttp.ClientConnectionError as error:
        raise ConnectionError(_plainly(error)) from error
    except (aiohttp.ClientError, ValueError) as error:  # their texts may hold what a server signed
        raise NotAsAsked(f"no answer in HTTP ({type(error).__name__})") from error
    raise NotAsAsked(f"the server sends on more than {MOST_REDIRECTS} times")


def _check(answer: "aiohttp.ClientResponse") -> None:
    """Raise what the status of an answer means."""
    status = answer.status
    if status < HTTPStatus.BAD_REQUEST:
        return
    said = f"answered {status}"
    if status in _GONE:
        raise FileNotFoundError(said)
    if status in _REFUSED:
        raise PermissionError(said)
    if status in _MAY_PASS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ConnectionError(said)
    raise NotAsAsked(said)


def _plainly(error: Exception) -> str:
    """Why there is no connection, without what a redirect may have named."""
    cause = error.__cause__ or error
    return getattr(cause, "strerror", None) or type(cause).__name__


def _wait(action: Any, *arguments: Any) -> Any:
    """The result of an asynchronous function, which runs on fsspec's loop."""
    from fsspec.asyn import get_loop, sync

    return sync(get_loop(), action, *arguments)


@lru_cache(maxsize=4)
def _files(process_id: int, public_only: bool) -> Any:
    """The file system of fsspec that keeps, and closes, the connections of this process."""
    from fsspec.implementations.http import HTTPFileSystem

    return HTTPFileSystem(
        get_client=_client, client_kwargs={"public_only": public_only}, skip_instance_cache=True
    )


async def _client(public_only: bool, loop: asyncio.AbstractEventLoop) -> "aiohttp.ClientSession":
    import aiohttp

    # By default six threads, which a few names that no server answers for would hold up for all.
    loop.set_default_executor(ThreadPoolExecutor(N_CONNECTIONS, "look up names"))
    connector = aiohttp.TCPConnector(
        limit=N_CONNECTIONS,
        happy_eyeballs_delay=None,  # one address after the other, so that the first refusal ends it
        socket_factory=_public_socket if public_only else None,
    )
    return aiohttp.ClientSession(
        loop=loop,
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),  # ours are closer
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "archive-tagger"},
    )


def _public_socket(address: Any) -> socket.socket:
    """A socket for an address that ``getaddrinfo`` gave; PrivateHost where it is not public."""
    family, kind, protocol, _, place = address
    if not is_public(place[0]):
        raise PrivateHost(f"leads to the private address {place[0]}")
    return socket.socket(family, kind, protocol)
