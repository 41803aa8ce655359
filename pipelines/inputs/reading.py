"""The bytes of one clip, of the very version that was listed.

Small objects come as ``bytes``. Larger local files come as their path; larger remote ones are
copied in ranges into a temporary file without a name, of which a killed worker leaves nothing. What
concerns this clip alone is a ``ClipError`` at stage READ: VANISHED, CHANGED_DURING_RUN, UNREADABLE.
A store that does not answer is not: it is retried, then ``StoreUnavailable`` ends the job.

The version is compared by the request itself on S3 (``If-Match``), and before and after the use
elsewhere: a local file that is rewritten while it is decoded ends as CHANGED_DURING_RUN.
"""

import errno
import os
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import pyarrow as pa

from pipelines.inputs.versions import file_version, info_version, plain_etag
from pipelines.storage.errors import (
    AccessDenied,
    StoreUnavailable,
    error_code,
    one_line,
    store_errors,
)
from pipelines.storage.filesystems import filesystem
from pipelines.storage.retry import PATIENCE_S, with_retries
from pipelines.storage.uris import is_local, is_s3, local_path, split_s3
from tagger.errors import ClipError, Reason, Stage

IN_MEMORY_BYTES: Final = 64 << 20
RANGE_BYTES: Final = 16 << 20
AHEAD_BYTES: Final = 96 << 20
READ_THREADS: Final = 4

_MACHINE_TROUBLE: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
)

Content = bytes | Path
"""What a clip is opened as: its bytes, or the path of a file that holds them."""


def open_clip(
    uri: str,
    version: str,
    size_bytes: int,
    spool_dir: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> AbstractContextManager[Content]:
    """Context manager over the clip's content; its file, if it is one, lasts as long as the block.

    Parameters
    ----------
    uri, version, size_bytes : as listed; version "" where nothing was found
    spool_dir : folder of the temporary file of a large remote clip; None takes the system's
    patience_s : seconds to go on retrying one request to a store

    Raises
    ------
    ClipError : at entry; and at exit when a local file was changed during the block
    StoreUnavailable, AccessDenied : as ``pipelines.storage.retry`` tells
    """
    if not version:
        return _refused(Reason.VANISHED, "was not there when it was listed")
    if is_local(uri):
        return _local(local_path(uri), version)
    get = _s3_reader(uri, version) if is_s3(uri) else _fsspec_reader(uri, version)

    def read(start: int, end: int | None) -> bytes:
        return _as_clip_error(lambda: get(start, end), uri, patience_s)

    if size_bytes <= IN_MEMORY_BYTES:
        return _in_memory(lambda: read(0, None))
    return _spooled(read, size_bytes, spool_dir)


def prefetch(
    clips: pa.Table,
    n_threads: int = READ_THREADS,
    spool_dir: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> Iterator[AbstractContextManager[Content]]:
    """``open_clip`` for every row of a table of schema ``LISTING``, in order, reading ahead.

    At most ``AHEAD_BYTES`` are held, the clip in use included. Large clips are not read ahead.
    Each context manager is to be entered before the next is asked for.
    """
    columns = (clips[name].to_pylist() for name in ("uri", "version", "size_bytes"))
    rows = deque(zip(*columns, strict=True))
    ahead: deque[tuple[int, AbstractContextManager[Content]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="read")
    held_bytes = 0
    try:
        while rows or ahead:
            while rows and (not ahead or held_bytes + _held(rows[0][2]) <= AHEAD_BYTES):
                if len(ahead) > 2 * n_threads:
                    break
                uri, version, size_bytes = rows.popleft()
                opened = open_clip(uri, version, size_bytes, spool_dir, patience_s)
                if _held(size_bytes):
                    opened = _awaited(pool.submit(opened.__enter__), opened)
                ahead.append((_held(size_bytes), opened))
                held_bytes += _held(size_bytes)
            size_bytes, opened = ahead.popleft()
            yield opened
            held_bytes -= size_bytes
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _held(size_bytes: int) -> int:
    """Bytes of memory that reading ahead costs."""
    return size_bytes if size_bytes <= IN_MEMORY_BYTES else 0


@contextmanager
def _awaited(
    entered: Future[Content], opened: AbstractContextManager[Content]
) -> Iterator[Content]:
    """The block of ``opened``, which another thread has entered."""
    source = entered.result()
    try:
        yield source
    except BaseException as error:
        if not opened.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        opened.__exit__(None, None, None)


@contextmanager
def _refused(reason: Reason, detail: str) -> Iterator[Content]:
    _fail(reason, detail)
    yield b""


@contextmanager
def _in_memory(read: Callable[[], bytes]) -> Iterator[Content]:
    yield read()


@contextmanager
def _local(path: str, version: str) -> Iterator[Content]:
    file = _open_regular(path)
    with file:
        _same(file_version(os.fstat(file.fileno())), version)
        if os.fstat(file.fileno()).st_size <= IN_MEMORY_BYTES:
            try:
                data = file.read()
            except OSError as error:
                _local_trouble(error)
            _same(file_version(os.fstat(file.fileno())), version)
            yield data
            return
    try:
        yield Path(path)
    except ClipError:
        _same_file(path, version)  # a clip that was changed while it was decoded may look broken
        raise
    _same_file(path, version)


def _open_regular(path: str) -> IO[bytes]:
    """The open file; a pipe, a device or a folder is refused without waiting on it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        _fail(Reason.VANISHED, "no such file")
    except OSError as error:
        _local_trouble(error)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        _fail(Reason.UNREADABLE, "not a regular file")
    return open(fd, "rb", buffering=0)  # noqa: PTH123 (a descriptor; the caller closes)


def _local_trouble(error: OSError) -> NoReturn:
    """End the job if the machine or its mounts are in trouble; else it is this clip's failure."""
    if error.errno in _MACHINE_TROUBLE:
        raise StoreUnavailable(f"{error.filename or 'a local file'}: {error.strerror}") from error
    _fail(Reason.UNREADABLE, error.strerror or "cannot be read", error)


def _same_file(path: str, version: str) -> None:
    try:
        _same(file_version(os.stat(path)), version)  # noqa: PTH116 (may hold undecodable bytes)
    except OSError:
        _fail(Reason.VANISHED, "removed while it was read")


@contextmanager
def _spooled(
    read: Callable[[int, int | None], bytes], size_bytes: int, spool_dir: Path | None
) -> Iterator[Content]:
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError as error:
            detail = f"{size_bytes} bytes do not fit the temporary folder: {error.strerror}"
            _fail(Reason.UNREADABLE, detail, error)
        for start in range(0, size_bytes, RANGE_BYTES):
            file.write(read(start, min(start + RANGE_BYTES, size_bytes)))
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")  # lives as long as the block


def _s3_reader(uri: str, version: str) -> Callable[[int, int | None], bytes]:
    """A function (start, end) -> bytes of the object, tied to its etag."""
    from fsspec.asyn import sync

    fs = filesystem("s3://")
    bucket, key = split_s3(uri)
    request = {"Bucket": bucket, "Key": key, "IfMatch": f'"{version}"'}

    def get(start: int, end: int | None) -> bytes:
        part = {} if end is None else {"Range": f"bytes={start}-{end - 1}"}
        answer = fs.call_s3("get_object", **request, **part)
        data: bytes = sync(fs.loop, _content, answer["Body"])
        _same(plain_etag(answer["ETag"]), version)
        if len(data) != answer["ContentLength"]:
            raise ConnectionResetError(f"{len(data)} of {answer['ContentLength']} bytes")
        return data

    return get


async def _content(body: Any) -> Any:
    try:
        return await body.read()
    finally:
        body.close()


def _fsspec_reader(uri: str, version: str) -> Callable[[int, int | None], bytes]:
    """The same for any other fsspec scheme; the version is looked up before and after."""
    fs = filesystem(uri)

    def get(start: int, end: int | None) -> bytes:
        _same(info_version(fs.info(uri)), version)
        data: bytes = fs.cat_file(uri, start=start or None, end=end)
        _same(info_version(fs.info(uri)), version)
        if end is not None and len(data) > end - start:  # a server that knows no ranges
            return data[start:end]
        return data

    return get


def _as_clip_error(call: Callable[[], bytes], uri: str, patience_s: float) -> bytes:
    """The answer of ``call``; what the store says against this one object is the clip's failure."""
    try:
        return with_retries(call, f"reading {uri!r}", patience_s)
    except (AccessDenied, StoreUnavailable):
        raise
    except FileNotFoundError as error:
        if error_code(error) == "NoSuchBucket":
            raise StoreUnavailable(f"reading {uri!r}: the bucket is gone") from error
        _fail(Reason.VANISHED, "no such object", error)
    except PermissionError as error:
        _fail(Reason.UNREADABLE, error_code(error) or "access denied", error)
    except store_errors() as error:
        code = error_code(error)
        if code in ("PreconditionFailed", "412", "InvalidRange"):
            _fail(Reason.CHANGED_DURING_RUN, "another version than the one listed", error)
        if isinstance(error, OSError) and error.errno in _MACHINE_TROUBLE:
            raise StoreUnavailable(f"reading {uri!r}: {one_line(error)}") from error
        _fail(Reason.UNREADABLE, f"{code or type(error).__name__}: {one_line(error)}", error)


def _same(version: Any, listed: str) -> None:
    if version != listed:
        _fail(Reason.CHANGED_DURING_RUN, "another version than the one listed")


def _fail(reason: Reason, detail: str, cause: BaseException | None = None) -> NoReturn:
    raise ClipError(reason, detail, Stage.READ) from cause
