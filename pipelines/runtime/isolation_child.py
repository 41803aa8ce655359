"""The far side of ``pipelines.runtime.isolation``: the loop of the child process, and the messages.

A message is one pickle (protocol 5) and the raw bytes of its arrays behind it, sent with one
``sendmsg`` and received straight into place: an array crosses with one copy on each side.

    parent -> child   (function, args)
    child -> parent   (READY, None) once; then per call (ITEM, value)* and one of
                      (DONE, None), (MEMORY, None), (ERROR, exception)
"""

import fcntl
import importlib
import os
import pickle
import resource
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final

READY: Final = 0
ITEM: Final = 1
DONE: Final = 2
MEMORY: Final = 3
ERROR: Final = 4

_HEADER: Final = struct.Struct("<QQ")  # buffers that follow, bytes of the pickle
_MOST_PARTS: Final = 512  # of one sendmsg; Linux allows 1024


class Channel:
    """Pickled messages over a stream socket.

    Parameters
    ----------
    sock : connected stream socket
    writable : received buffers are ``bytearray`` (arrays can be written to) instead of ``bytes``
    """

    def __init__(self, sock: socket.socket, writable: bool) -> None:
        self._sock = sock
        self._writable = writable
        self.patience_s: float | None = None
        """Seconds that may yet be spent waiting for the other side; None waits for ever."""

    def allow(self, seconds: float) -> None:
        """Add to the patience."""
        self.patience_s = (self.patience_s or 0.0) + seconds

    def send(self, message: Any) -> None:
        """Raises TimeoutError, or OSError when the other side is gone."""
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
        views = [memoryview(head), *(buffer.raw() for buffer in buffers)]
        sizes = struct.pack(f"<{len(views) + 1}Q", len(buffers), *(view.nbytes for view in views))
        pending = [memoryview(sizes), *(view for view in views if view.nbytes)]
        while pending:
            n_sent = self._waiting(self._sock.sendmsg, pending[:_MOST_PARTS])
            while pending and n_sent >= pending[0].nbytes:
                n_sent -= pending.pop(0).nbytes
            if n_sent:
                pending[0] = pending[0][n_sent:]

    def receive(self) -> Any:
        """Raises TimeoutError, EOFError at the end, or another OSError when the line broke."""
        n_buffers, head_size = _HEADER.unpack(self._exactly(_HEADER.size))
        sizes = struct.unpack(f"<{n_buffers}Q", self._exactly(8 * n_buffers))
        head = self._exactly(head_size)
        return pickle.loads(head, buffers=[self._exactly(size) for size in sizes])

    def _exactly(self, size: int) -> bytes | bytearray:
        if not size:
            return b""
        if not self._writable:
            data = self._sock.recv(size, socket.MSG_WAITALL)
            if len(data) < size:
                raise EOFError
            return data
        target = bytearray(size)
        view = memoryview(target)
        while view.nbytes:
            n_read = self._waiting(self._sock.recv_into, view)
            if not n_read:
                raise EOFError
            view = view[n_read:]
        return target

    def _waiting(self, call: Callable[[Any], int], data: Any) -> int:
        if self.patience_s is None:
            return call(data)
        if self.patience_s <= 0:
            raise TimeoutError
        self._sock.settimeout(self.patience_s)
        start_s = time.perf_counter()
        try:
            return call(data)
        finally:
            self.patience_s -= time.perf_counter() - start_s


def serve(sock_fd: int, lifeline_fd: int, memory_limit_bytes: int, module: str) -> None:
    """Answer calls until the parent closes the line; never returns to anything of interest.

    Parameters
    ----------
    sock_fd : the connected socket
    lifeline_fd : a socket whose other end only the parent holds
    memory_limit_bytes : of private memory (``RLIMIT_DATA``), beyond which ``MemoryError`` is raised
    module : imported before the first call, so that no call pays for it
    """
    _die_with_parent(lifeline_fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; we follow it
    importlib.import_module(module)
    # DATA counts what the program allocates; AS would also count libraries and reserved space
    resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    channel = Channel(socket.socket(fileno=sock_fd), writable=False)
    channel.send((READY, None))
    while True:
        try:
            function, args = channel.receive()
        except (EOFError, ConnectionResetError):
            return
        channel.send(_answer(channel, function, args))


def _die_with_parent(lifeline_fd: int) -> None:
    """Let the kernel end this process when the other end of the lifeline closes.

    The kernel sends SIGIO, whose default action ends the process even while C code holds the GIL.
    (``PR_SET_PDEATHSIG`` would fire already when the *thread* that started this process ends.)
    """
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline_fd, fcntl.F_GETFL)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, flags | os.O_ASYNC)


def _answer(
    channel: Channel, function: Callable[..., Iterable[Any]], args: tuple[Any, ...]
) -> tuple[int, Exception | None]:
    try:
        for item in function(*args):
            channel.send((ITEM, item))
    except MemoryError:
        return MEMORY, None
    except Exception as error:  # not swallowed: raised again in the parent
        return ERROR, _portable(error)
    return DONE, None


def _portable(error: Exception) -> Exception:
    """The exception with its traceback as a note; a RuntimeError where it does not pickle."""
    where = "".join(traceback.format_exception(error))
    error.add_note(f"In the child process:\n{where}")
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return RuntimeError(where)
    return error
