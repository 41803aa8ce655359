"""Messages between a worker and the process that decodes for it, over a Unix stream socket.

A message is one pickle (protocol 5) and the raw bytes of its arrays behind it, sent with one
``sendmsg`` and received straight into place: an array crosses with one copy on each side. Open
files cross as such, so that the process that decodes need not be able to open any.

    worker -> process   ``Channel``           any object, and files that are open for reading
    process -> worker   ``GuardedChannel``    numbers, texts, arrays, and a few classes

A recording may have taken the process over. So the worker builds nothing else from what comes back,
and takes no message that is larger than the memory that the process may have.
"""

import builtins
import io
import os
import pickle
import socket
import struct
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, BinaryIO, Final

_HEADER: Final = struct.Struct("<QQ")  # buffers that follow, bytes of the pickle
_MOST_PARTS: Final = 512  # of one sendmsg; Linux allows 1024
_MOST_FILES: Final = 16
_MOST_BUFFERS: Final = 1 << 16
_BUILT: Final = {
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "tagger.audio": ("Signal",),
    "tagger.errors": ("ClipError", "Reason", "Stage"),
}
"""The classes and functions, by module, that a guarded channel builds objects with; exceptions of
Python's own beside them."""


class GarbledError(OSError):
    """What came from the other side is no message that is accepted."""


class Channel:
    """One end of the line.

    Parameters
    ----------
    sock : connected Unix stream socket
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.patience_s: float | None = None
        """Seconds that may yet be spent waiting for the other side; None waits for ever."""

    def allow(self, seconds: float) -> None:
        """Add to the patience."""
        self.patience_s = (self.patience_s or 0.0) + seconds

    def send(self, message: Any) -> None:
        """Raises TimeoutError, or OSError when the other side is gone."""
        stream = io.BytesIO()
        buffers: list[pickle.PickleBuffer] = []
        pickler = _Pickler(stream, protocol=5, buffer_callback=buffers.append)
        pickler.dump(message)
        views = [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]
        sizes = struct.pack(f"<{len(views) + 1}Q", len(buffers), *(view.nbytes for view in views))
        self._send_views([memoryview(sizes), *views], pickler.files)

    def _send_views(self, views: Iterable[memoryview], files: list[int]) -> None:
        pending = [view for view in views if view.nbytes]
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []
        while pending:
            n_sent = self._waiting(partial(self._sock.sendmsg, pending[:_MOST_PARTS], rights))
            rights = []  # they went with the first byte
            while pending and n_sent >= pending[0].nbytes:
                n_sent -= pending.pop(0).nbytes
            if n_sent:
                pending[0] = pending[0][n_sent:]

    def receive(self) -> Any:
        """Raises EOFError at the end, or OSError when the line broke."""
        head, files, _, _ = socket.recv_fds(
            self._sock, _HEADER.size, _MOST_FILES, socket.MSG_WAITALL
        )
        opened = [os.fdopen(file, "rb") for file in files]
        if len(head) < _HEADER.size:
            raise EOFError
        n_buffers, size = _HEADER.unpack(head)
        sizes = struct.unpack(f"<{n_buffers}Q", self._exactly(8 * n_buffers))
        stream = io.BytesIO(self._exactly(size))
        buffers = [self._exactly(size) for size in sizes]
        return _Unpickler(opened, stream, buffers=buffers).load()

    def _exactly(self, size: int) -> bytes:
        data = self._sock.recv(size, socket.MSG_WAITALL) if size else b""
        if len(data) < size:
            raise EOFError
        return data

    def _waiting(self, call: Callable[[], int]) -> int:
        if self.patience_s is None:
            return call()
        if self.patience_s <= 0:
            raise TimeoutError
        self._sock.settimeout(self.patience_s)
        start_s = time.perf_counter()
        try:
            return call()
        finally:
            self.patience_s -= time.perf_counter() - start_s


class GuardedChannel(Channel):
    """The worker's end. It waits with patience; received arrays can be written to.

    Parameters
    ----------
    most_bytes : of one message
    """

    def __init__(self, sock: socket.socket, most_bytes: int) -> None:
        super().__init__(sock)
        self._most_bytes = most_bytes

    def receive(self) -> Any:
        """Raises TimeoutError, EOFError, GarbledError, or another OSError when the line broke."""
        n_buffers, size = _HEADER.unpack(self._into(_HEADER.size))
        if n_buffers > _MOST_BUFFERS:
            raise GarbledError(f"an answer of {n_buffers} arrays")
        sizes = struct.unpack(f"<{n_buffers}Q", self._into(8 * n_buffers))
        if (n_bytes := size + sum(sizes)) > self._most_bytes:
            raise GarbledError(f"an answer of {n_bytes} bytes")
        stream = io.BytesIO(self._into(size))
        buffers = [self._into(size) for size in sizes]
        try:
            return _GuardedUnpickler(stream, buffers=buffers).load()
        except Exception as error:  # a pickle that was made up can raise anything
            raise GarbledError(f"an answer that is none: {error}") from None

    def _into(self, size: int) -> bytearray:
        target = bytearray(size)
        view = memoryview(target)
        while view.nbytes:
            n_read = self._waiting(partial(self._sock.recv_into, view))
            if not n_read:
                raise EOFError
            view = view[n_read:]
        return target


def portable(error: Exception) -> bool:
    """Whether an exception arrives as itself through a guarded channel."""
    try:
        _GuardedUnpickler(io.BytesIO(pickle.dumps(error))).load()
    except Exception:  # whatever its class raises when it is built
        return False
    return True


class _Pickler(pickle.Pickler):
    """Writes the files that it meets as numbers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.files: list[int] = []

    def persistent_id(self, thing: Any) -> int | None:
        if not isinstance(thing, io.BufferedReader):
            return None
        self.files.append(thing.fileno())
        return len(self.files) - 1


class _Unpickler(pickle.Unpickler):
    def __init__(self, files: Sequence[BinaryIO], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._files = files

    def persistent_load(self, number: int) -> BinaryIO:
        return self._files[number]


class _GuardedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _BUILT.get(module, ()):
            return super().find_class(module, name)
        known = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(known, type) and issubclass(known, Exception):
            return known
        raise pickle.UnpicklingError(f"{module}.{name} in it")
