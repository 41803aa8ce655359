"""The far side of ``pipelines.runtime.isolation``: the loop of the child process, and its answers.

parent -> child   (function, args)
child -> parent   (READY, what the kernel did not take away) once; then per call
                  (ITEM, value)* and one of (DONE, None), (MEMORY, None), (ERROR, exception)
"""

import fcntl
import importlib
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final

from pipelines.runtime import sandbox
from pipelines.runtime.channel import Channel, portable

READY: Final = 0
ITEM: Final = 1
DONE: Final = 2
MEMORY: Final = 3
ERROR: Final = 4


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
    kept = sandbox.close_files()
    importlib.import_module(module)
    kept += sandbox.close_network()
    # DATA counts what the program allocates; AS would also count libraries and reserved space
    resource.setrlimit(resource.RLIMIT_DATA, (memory_limit_bytes, memory_limit_bytes))
    _fall_silent()
    channel = Channel(socket.socket(fileno=sock_fd))
    channel.send((READY, kept))
    while True:
        try:
            call = channel.receive()
        except (EOFError, ConnectionResetError):
            return
        channel.send(_answer(channel, *call))
        del call  # its files close


def _fall_silent() -> None:
    """Decoders print, and a terminal obeys what is printed; nobody hears them from now on."""
    null = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(null, output)
    os.close(null)


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
    """The exception with its traceback as a note; a RuntimeError where it does not travel."""
    where = "".join(traceback.format_exception(error))
    error.add_note(f"In the child process:\n{where}")
    return error if portable(error) else RuntimeError(where)
