"""Where a job writes: a local folder or an S3 prefix.

Everything that makes an output right rests on two writes that both kinds of store have:

    write    whole or not at all, replacing what was there (locally temp, fsync, rename; S3 one PUT
             or one multipart upload, which shows only when it is complete)
    create   the same, but only where nothing is there; of many writers exactly one wins (locally a
             hard link; S3 ``If-None-Match: *``)

Errors: ``FileNotFoundError`` for what is not there; ``AccessDenied`` at once for credentials and
permissions; ``StoreUnavailable`` for everything else. What a network store may outlive (503
SlowDown, reset connections, timeouts) is retried (``retry``).

Local temporary files lie in ``_tmp``, outside the tables; ``sweep`` removes those of killed jobs.
Parts of multipart uploads that a killed job left are for the bucket's lifecycle rule.
"""

import errno
import os
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, TypeVar

from pipelines.storage.errors import AccessDenied, StoreUnavailable, error_code, store_errors
from pipelines.storage.filesystems import filesystem, read_whole
from pipelines.storage.retry import PATIENCE_S, with_retries
from tagger.errors import CommandError

T = TypeVar("T")

TEMPORARY: Final = "_tmp"
ABANDONED_S: Final = 24 * 3600.0
"""Age at which a half-written file has no writer any more."""


def open_store(url: str, patience_s: float = PATIENCE_S) -> "Store":
    """Open ``url``: a local path, ``file://`` or ``s3://bucket/prefix``. Touches nothing yet.

    Parameters
    ----------
    url : a relative local path is taken from the working directory
    patience_s : seconds to go on retrying one operation of a network store
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme == "file":
        return LocalStore(_folder(rest if separator else url), patience_s)
    bucket = rest.split("/")[0]
    if scheme != "s3":
        raise CommandError(
            f"cannot write to {scheme}://: give a local folder or s3://bucket/prefix"
        )
    if not bucket or "@" in bucket or ":" in bucket:
        raise CommandError(
            "an S3 output is s3://bucket/prefix; credentials come from the environment"
        )
    return S3Store(f"s3://{rest.rstrip('/')}", patience_s)


def _folder(path: str) -> str:
    """The absolute path of a local output; CommandError where no folder can be."""
    if not path:
        raise CommandError("the output is empty text: give a local folder or s3://bucket/prefix")
    try:
        folder = Path(path).expanduser().absolute()
        for above in (folder, *folder.parents):
            if above.exists() and not above.is_dir():
                raise CommandError(f"{above} is a file: give a folder to write to")
    except (OSError, RuntimeError) as error:  # no access on the way; no such user's home
        raise CommandError(f"{path} names no folder ({error}): give another path") from error
    return str(folder)


class Store(ABC):
    """Files under ``root``, named by relative paths with ``/``. Picklable; safe in threads."""

    def __init__(self, root: str, patience_s: float = PATIENCE_S) -> None:
        self.root = root
        self.patience_s = patience_s

    def __reduce__(self) -> tuple[type[Self], tuple[str, float]]:
        return type(self), (self.root, self.patience_s)

    def with_patience(self, patience_s: float) -> Self:
        """Give the same store, retrying each operation for at most this many seconds."""
        return type(self)(self.root, patience_s)

    def read(self, path: str) -> bytes:
        """Return the bytes of ``path``; raises ``FileNotFoundError``."""
        return self._run(lambda: self._read(path))

    def read_range(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes from ``start`` up to ``end``; raises ``FileNotFoundError``."""
        return self._run(lambda: self._read_range(path, start, end))

    def exists(self, path: str) -> bool:
        """Return whether there is such a file."""
        try:
            self._run(lambda: self._stat(path))
        except FileNotFoundError:
            return False
        return True

    def scan(self, path: str, reader: Callable[[BinaryIO], T]) -> T:
        """Apply ``reader`` to ``path`` opened for random access; it may run more than once."""
        return self._run(lambda: self._scan(path, reader))

    def write(self, path: str, data: bytes) -> None:
        """Make ``data`` the content of ``path``, whole or not at all."""
        self._run(lambda: self._write(path, data))

    def create(self, path: str, data: bytes) -> bool:
        """Write ``path`` unless it exists; return whether this call did.

        ``data`` must differ between writers: when the answer to a request that succeeded was
        lost, its repetition is refused, and the content tells that this writer had won.
        """
        try:
            self._run(lambda: self._create(path, data))
        except FileExistsError:
            try:
                return self.read(path) == data
            except FileNotFoundError:  # removed meanwhile
                return False
        return True

    def list(self, folder: str) -> list[str]:
        """Return the paths of all files below ``folder``, sorted; none when it is missing."""
        return sorted(self._run(lambda: self._list(folder)))

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files; missing ones are fine."""
        names = list(paths)
        self._run(lambda: self._remove(names))

    @abstractmethod
    def sweep(self, older_than_s: float = ABANDONED_S) -> None:
        """Remove what writers that were killed left half-written, where that is ours to do."""

    @abstractmethod
    def _run(self, action: Callable[[], T]) -> T: ...
    @abstractmethod
    def _read(self, path: str) -> bytes: ...
    @abstractmethod
    def _read_range(self, path: str, start: int, end: int) -> bytes: ...
    @abstractmethod
    def _stat(self, path: str) -> object: ...
    @abstractmethod
    def _scan(self, path: str, reader: Callable[[BinaryIO], T]) -> T: ...
    @abstractmethod
    def _write(self, path: str, data: bytes) -> None: ...
    @abstractmethod
    def _create(self, path: str, data: bytes) -> None: ...
    @abstractmethod
    def _list(self, folder: str) -> Iterable[str]: ...
    @abstractmethod
    def _remove(self, paths: Sequence[str]) -> None: ...


class LocalStore(Store):
    """A folder of this machine, or one that all machines mount."""

    def _run(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (FileNotFoundError, FileExistsError, StoreUnavailable):
            raise
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise AccessDenied(
                    f"{self.root}: {error}; check who may read and write there"
                ) from error
            raise StoreUnavailable(f"{self.root}: {error}") from error

    def _read(self, path: str) -> bytes:
        return Path(self.root, path).read_bytes()

    def _read_range(self, path: str, start: int, end: int) -> bytes:
        with Path(self.root, path).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def _stat(self, path: str) -> object:
        return Path(self.root, path).stat()

    def _scan(self, path: str, reader: Callable[[BinaryIO], T]) -> T:
        with Path(self.root, path).open("rb") as file:
            return reader(file)

    def _write(self, path: str, data: bytes) -> None:
        self._place(path, data, lambda temporary, final: temporary.replace(final))

    def _create(self, path: str, data: bytes) -> None:
        self._place(path, data, lambda temporary, final: final.hardlink_to(temporary))

    def _place(self, path: str, data: bytes, put: Callable[[Path, Path], object]) -> None:
        final = Path(self.root, path)
        temporary = Path(self.root, TEMPORARY, uuid.uuid4().hex)
        for folder in (final.parent, temporary.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            put(temporary, final)
        finally:
            temporary.unlink(missing_ok=True)
        folder_fd = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)

    def _list(self, folder: str) -> Iterable[str]:
        start = Path(self.root, folder)
        folders = os.walk(start, onerror=_unless_missing)
        found = (Path(at, name) for at, _, names in folders for name in names)
        return [path.relative_to(self.root).as_posix() for path in found]

    def _remove(self, paths: Sequence[str]) -> None:
        for path in paths:
            Path(self.root, path).unlink(missing_ok=True)

    def sweep(self, older_than_s: float = ABANDONED_S) -> None:
        for path in self.list(TEMPORARY):
            with suppress(FileNotFoundError):  # its writer has finished
                if time.time() - Path(self.root, path).stat().st_mtime > older_than_s:
                    self.remove([path])


def _unless_missing(error: OSError) -> None:
    """Raise what keeps a folder from being read; it may be missing, or removed meanwhile."""
    if not isinstance(error, FileNotFoundError):
        raise error


class S3Store(Store):
    """A prefix in an S3 bucket; endpoint, credentials and region as usual for AWS programs."""

    @property
    def _fs(self) -> Any:
        return filesystem(self.root)

    def _key(self, path: str) -> str:
        return f"{self.root.removeprefix('s3://')}/{path}"

    def _run(self, action: Callable[[], T]) -> T:
        try:
            return with_retries(action, self.root, self.patience_s)
        except (AccessDenied, StoreUnavailable, FileNotFoundError):
            raise
        except PermissionError as error:
            raise AccessDenied(
                f"{self.root}: {error}; check what the credentials permit"
            ) from error
        except store_errors() as error:
            if error_code(error) in ("PreconditionFailed", "412"):
                raise FileExistsError(str(error)) from error
            raise StoreUnavailable(f"{self.root}: {error}") from error

    def sweep(self, older_than_s: float = ABANDONED_S) -> None:
        pass  # abandoned multipart uploads are for the bucket's lifecycle rule

    def _read(self, path: str) -> bytes:
        return read_whole(f"{self.root}/{path}")

    def _read_range(self, path: str, start: int, end: int) -> bytes:
        return bytes(self._fs.cat_file(self._key(path), start=start, end=end))

    def _stat(self, path: str) -> object:
        return self._fs.info(self._key(path))

    def _scan(self, path: str, reader: Callable[[BinaryIO], T]) -> T:
        with self._fs.open(self._key(path), "rb", block_size=2**20) as file:
            return reader(file)

    def _write(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(self._key(path), data)

    def _create(self, path: str, data: bytes) -> None:
        self._fs.pipe_file(self._key(path), data, mode="create")

    def _list(self, folder: str) -> Iterable[str]:
        below = f"{self._key(folder).rstrip('/')}/"  # find also gives the folder, where it is empty
        names = (n for n in self._fs.find(below) if n.startswith(below) and not n.endswith("/"))
        return [name.removeprefix(self._key("")) for name in names]

    def _remove(self, paths: Sequence[str]) -> None:
        for start in range(0, len(paths), 1000):  # the most that one request may name
            keys = [self._key(path).split("/", 1) for path in paths[start : start + 1000]]
            wanted = {"Objects": [{"Key": key} for _, key in keys], "Quiet": True}
            answer = self._fs.call_s3("delete_objects", Bucket=keys[0][0], Delete=wanted)
            for refused in answer.get("Errors", []):
                if refused.get("Code") == "AccessDenied":
                    raise PermissionError(refused.get("Message", ""))
                raise TimeoutError(f"{refused.get('Code')}: {refused.get('Message')}")
