"""Copies of remote clips, each of the very version that was listed and no larger than that.

What a store says against one object is that clip's failure; so is what a server sends that it was
not asked for. A store that does not answer is nobody's failure, and ends the job, unless it is a
host that only rows of a manifest name.
"""

import io
import time
from collections.abc import Callable
from typing import IO, Any, NoReturn, TypeVar

from pipelines.inputs.access import ALLOW_PRIVATE, Access
from pipelines.inputs.versions import info_version, plain_etag
from pipelines.storage import web
from pipelines.storage.bounds import LEAST_BYTES_PER_S, LONGEST_S
from pipelines.storage.errors import (
    MACHINE_TROUBLE,
    AccessDenied,
    BrokeOff,
    NotAsAsked,
    PrivateHost,
    StoreUnavailable,
    TooMuch,
    error_code,
    one_line,
    store_errors,
)
from pipelines.storage.filesystems import copy_s3, filesystem
from pipelines.storage.uris import is_s3, split_s3
from tagger.errors import ClipError, Reason, Stage

Part = Callable[[int, int], bytes]
"""Gives the bytes of an object from one place to another."""

_T = TypeVar("_T")


def copy_object(
    uri: str, version: str, size_bytes: int, sink: IO[bytes], access: Access, part_bytes: int
) -> None:
    """Write an object of S3, or of any fsspec scheme but http, to ``sink``, in parts.

    Raises
    ------
    ClipError : as ``as_clip_error``
    """
    get = _s3_part(uri, version, size_bytes) if is_s3(uri) else _fsspec_part(uri, version)
    for start in range(0, max(size_bytes, 1), max(part_bytes, 1)):
        end = min(start + part_bytes, size_bytes)
        sink.write(as_clip_error(lambda: get(start, end), uri, access))  # noqa: B023 (called now)


def _s3_part(uri: str, version: str, size_bytes: int) -> Part:
    """Parts that are tied to the object's etag by the request itself."""
    bucket, key = split_s3(uri)
    request = {"Bucket": bucket, "Key": key, "IfMatch": f'"{version}"'}

    def get(start: int, end: int) -> bytes:
        part = {"Range": f"bytes={start}-{end - 1}"} if end - start < size_bytes else {}
        body = io.BytesIO()
        answer = copy_s3(body.write, end - start, **request, **part)
        data = body.getvalue()
        same(plain_etag(answer["ETag"]), version)
        if len(data) != end - start:
            raise NotAsAsked(f"the store sends {len(data):,} bytes and not {end - start:,}")
        return data

    return get


def _fsspec_part(uri: str, version: str) -> Part:
    """Parts with a look at the version before and after."""
    fs = filesystem(uri)

    def get(start: int, end: int) -> bytes:
        same(info_version(fs.info(uri)), version)
        data: bytes = fs.cat_file(uri, start=start, end=end) if end > start else b""
        same(info_version(fs.info(uri)), version)
        if len(data) != end - start:
            raise NotAsAsked(f"the store sends {len(data):,} bytes and not {end - start:,}")
        return data

    return get


class WebClip:
    """A clip on an http server.

    Attributes
    ----------
    size_bytes : None where the server does not tell it
    """

    def __init__(self, uri: str, version: str, size_bytes: int, access: Access) -> None:
        self._uri = uri
        self._version = version
        self._access = access
        self.size_bytes: int | None = self._look()["size"]
        if self.size_bytes is not None:
            same(self.size_bytes, size_bytes)

    def copy(self, sink: IO[bytes]) -> None:
        """Write the clip to ``sink``, an empty file, for as long as each try brings it further.

        Raises
        ------
        ClipError : as ``as_clip_error``
        """
        slowest_s = self._access.patience_s + (self.size_bytes or 0) / LEAST_BYTES_PER_S
        deadline = time.monotonic() + min(slowest_s, LONGEST_S)
        while True:
            n_before = sink.tell()
            try:
                as_clip_error(lambda: self._fetch(sink), self._uri, self._access)
            except ClipError as error:
                further = self.size_bytes is not None and sink.tell() > n_before
                broke_off = isinstance(error.__cause__, StoreUnavailable)
                if further and broke_off and time.monotonic() < deadline:
                    continue
                self._look()  # another version explains everything
                raise
            self._look()
            return

    def _look(self) -> dict[str, Any]:
        """What the server tells of the clip; ClipError where that is another version."""
        uri, access = self._uri, self._access
        info = as_clip_error(lambda: web.look_at(uri, access.reach), uri, access)
        same(info_version(info), self._version)
        return info

    def _fetch(self, sink: IO[bytes]) -> None:
        """Fetch what is not in ``sink`` yet."""
        size_bytes, limits = self.size_bytes, self._access.limits
        most_bytes = limits.unsized_mb << 20
        if size_bytes is None:
            sink.seek(0)
            sink.truncate()
        try:
            web.fetch(
                self._uri,
                sink.write,
                self._access.reach,
                size_bytes=size_bytes,
                most_bytes=most_bytes,
                start=sink.tell(),
            )
        except TooMuch as error:
            if size_bytes is None:
                told = f"more than {limits.unsized_mb} MiB, and the server tells no size"
                raise TooMuch(f"{told}; --unsized-mb takes more") from error
            raise TooMuch(f"the server sends more than the {size_bytes:,} bytes listed") from error


def as_clip_error(call: Callable[[], _T], uri: str, access: Access) -> _T:
    """The answer of ``call``; what the store says against this one object is the clip's failure.

    Raises
    ------
    ClipError : VANISHED, CHANGED_DURING_RUN, UNREADABLE, REFUSED
    AccessDenied, StoreUnavailable : from a store that the command names
    """
    try:
        return access.ask(call, uri, f"reading {uri!r}")
    except StoreUnavailable as error:
        if isinstance(error.__cause__, BrokeOff) or not access.named(uri):
            fail(Reason.UNREADABLE, one_line(error), error)
        raise
    except AccessDenied:
        raise
    except PrivateHost as error:
        fail(Reason.REFUSED, f"{error}; {ALLOW_PRIVATE}", error)
    except store_errors() as error:
        if error_code(error) == "NoSuchBucket":
            raise StoreUnavailable(f"reading {uri!r}: the bucket is gone") from error
        if isinstance(error, OSError) and error.errno in MACHINE_TROUBLE:
            raise StoreUnavailable(f"reading {uri!r}: {one_line(error)}") from error
        fail(*_told(error), error)


def _told(error: Exception) -> tuple[Reason, str]:
    """What a store says against one object, as a reason and its detail."""
    code = error_code(error)
    if isinstance(error, NotAsAsked | TooMuch):
        return Reason.UNREADABLE, one_line(error)
    if isinstance(error, FileNotFoundError):
        return Reason.VANISHED, "no such object"
    if isinstance(error, PermissionError):
        return Reason.UNREADABLE, code or "access denied"
    if code in ("PreconditionFailed", "412", "InvalidRange"):
        return Reason.CHANGED_DURING_RUN, "another version than the one listed"
    return Reason.UNREADABLE, f"{code or type(error).__name__}: {one_line(error)}"


def same(version: Any, listed: Any) -> None:
    """Raise unless what is there is what was listed."""
    if version != listed:
        fail(Reason.CHANGED_DURING_RUN, "another version than the one listed")


def fail(reason: Reason, detail: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the failure of a clip that cannot be read."""
    raise ClipError(reason, detail, Stage.READ) from cause
