"""The bytes of one clip, of the very version that was listed.

Small objects come as ``bytes``. Larger local files come as their path; larger remote ones are
copied into a temporary file without a name, of which a killed worker leaves nothing
(``pipelines.inputs.remote``). What concerns this clip alone is a ``ClipError`` at stage READ:
VANISHED, CHANGED_DURING_RUN, UNREADABLE, REFUSED. A store that does not answer is not: it is
retried, then ``StoreUnavailable`` ends the job.

The version is compared by the request itself on S3 (``If-Match``), and before and after the use
elsewhere: a local file that is rewritten while it is decoded ends as CHANGED_DURING_RUN.
"""

import io
import os
import stat
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final, NoReturn

import pyarrow as pa

from pipelines.inputs.access import ANY, Access
from pipelines.inputs.remote import WebClip, copy_object, fail, same
from pipelines.inputs.versions import file_version
from pipelines.storage.errors import MACHINE_TROUBLE, StoreUnavailable
from pipelines.storage.uris import is_local, local_path
from pipelines.storage.web import is_web
from tagger.errors import ClipError, Reason

IN_MEMORY_BYTES: Final = 64 << 20
RANGE_BYTES: Final = 16 << 20
AHEAD_BYTES: Final = 96 << 20
READ_THREADS: Final = 4

Content = bytes | Path
"""What a clip is opened as: its bytes, or the path of a file that holds them."""


def open_clip(
    uri: str,
    version: str,
    size_bytes: int,
    problem: str | None = None,
    spool_dir: Path | None = None,
    access: Access = ANY,
) -> AbstractContextManager[Content]:
    """Context manager over the clip's content; its file, if it is one, lasts as long as the block.

    Parameters
    ----------
    uri, version, size_bytes, problem : as listed; version "" where nothing was found
    spool_dir : folder of the temporary file of a large remote clip; None takes the system's
    access : how much may be taken, from where, and for how long a store is waited for

    Raises
    ------
    ClipError : at entry; and at exit when a local file was changed during the block
    StoreUnavailable, AccessDenied : as ``pipelines.storage.retry`` tells
    """
    if problem:
        reason, _, detail = problem.partition(": ")
        return _refused(Reason(reason), detail)
    if not version:
        return _refused(Reason.VANISHED, "was not there when it was listed")
    if is_local(uri):
        return _local(local_path(uri), version)
    if is_web(uri):
        return _web(uri, version, size_bytes, spool_dir, access)
    part_bytes = RANGE_BYTES if size_bytes > IN_MEMORY_BYTES else size_bytes
    copy = partial(copy_object, uri, version, size_bytes, access=access, part_bytes=part_bytes)
    return _copied(copy, size_bytes, spool_dir)


def prefetch(
    clips: pa.Table,
    n_threads: int = READ_THREADS,
    spool_dir: Path | None = None,
    access: Access = ANY,
) -> Iterator[AbstractContextManager[Content]]:
    """``open_clip`` for every row of a table of schema ``LISTING``, in order, reading ahead.

    At most ``AHEAD_BYTES`` are held, the clip in use included. Large clips are not read ahead.
    Each context manager is to be entered before the next is asked for.
    """
    columns = (clips[name].to_pylist() for name in ("uri", "version", "size_bytes", "problem"))
    rows = deque(zip(*columns, strict=True))
    ahead: deque[tuple[int, AbstractContextManager[Content]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="read")
    held_bytes = 0
    try:
        while rows or ahead:
            while rows and (not ahead or held_bytes + _held(rows[0][2]) <= AHEAD_BYTES):
                if len(ahead) > 2 * n_threads:
                    break
                uri, version, size_bytes, problem = rows.popleft()
                opened = open_clip(uri, version, size_bytes, problem, spool_dir, access)
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
    fail(reason, detail)
    yield b""


@contextmanager
def _local(path: str, version: str) -> Iterator[Content]:
    file = _open_regular(path)
    with file:
        same(file_version(os.fstat(file.fileno())), version)
        if os.fstat(file.fileno()).st_size <= IN_MEMORY_BYTES:
            try:
                data = file.read(os.fstat(file.fileno()).st_size)
            except OSError as error:
                _local_trouble(error)
            same(file_version(os.fstat(file.fileno())), version)
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
        fail(Reason.VANISHED, "no such file")
    except OSError as error:
        _local_trouble(error)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        fail(Reason.UNREADABLE, "not a regular file")
    return open(fd, "rb", buffering=0)  # noqa: PTH123 (a descriptor; the caller closes)


def _local_trouble(error: OSError) -> NoReturn:
    """End the job if the machine or its mounts are in trouble; else it is this clip's failure."""
    if error.errno in MACHINE_TROUBLE:
        raise StoreUnavailable(f"{error.filename or 'a local file'}: {error.strerror}") from error
    fail(Reason.UNREADABLE, error.strerror or "cannot be read", error)


def _same_file(path: str, version: str) -> None:
    try:
        same(file_version(os.stat(path)), version)  # noqa: PTH116 (may hold undecodable bytes)
    except OSError:
        fail(Reason.VANISHED, "removed while it was read")


@contextmanager
def _web(
    uri: str, version: str, size_bytes: int, spool_dir: Path | None, access: Access
) -> Iterator[Content]:
    clip = WebClip(uri, version, size_bytes, access)
    with _copied(clip.copy, clip.size_bytes, spool_dir) as source:
        yield source


@contextmanager
def _copied(
    copy: Callable[[IO[bytes]], object], size_bytes: int | None, spool_dir: Path | None
) -> Iterator[Content]:
    """What ``copy`` writes, in memory or in a file; in a file if nobody knows how much that is."""
    if size_bytes is not None and size_bytes <= IN_MEMORY_BYTES:
        body = io.BytesIO()
        copy(body)
        yield body.getvalue()
        return
    with tempfile.TemporaryFile(dir=spool_dir) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes or 1)
        except OSError as error:
            detail = f"{size_bytes} bytes do not fit the temporary folder: {error.strerror}"
            fail(Reason.UNREADABLE, detail, error)
        copy(file)
        file.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")  # lives as long as the block
