"""Ending in good order, and in time, when somebody says stop.

``ray job stop`` and schedulers send SIGTERM and some seconds later SIGKILL. So the first signal
raises ``Interrupted`` in the main thread, which ends the job the usual way, up through its context
managers. Where that takes too long (Ray shuts its executor down first, or has put another handler
in place), a thread of its own says the job's last words after ``GRACE_S`` and ends the process; at
the latest after ``LIMIT_S``, should a store not answer. ``end_process`` does the same for whoever
finds that the job cannot go on while its main thread is out of reach.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.visible import visible

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE_S: Final = 0.6
LIMIT_S: Final = 1.7


class Interrupted(BaseException):
    """A signal to end arrived; not an ``Exception``: nothing may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return 128 + self.number


End = Interrupted | ClusterLost
"""What ends a process whose main thread may be out of reach."""

_is_handled = threading.Event()
_arrived: list[Interrupted] = []
_when_interrupted: list[Callable[[End], None]] = []
_last_line: list[Callable[[str], str]] = ["error: {}\n".format]  # the last one counts


@contextmanager
def when_interrupted(say: Callable[[End], None]) -> Iterator[None]:
    """Have ``say`` called, in another thread, if the process ends before the block is left."""
    _when_interrupted.append(say)
    try:
        yield
    finally:
        _when_interrupted.remove(say)


def set_last_line(form: Callable[[str], str]) -> None:
    """The line in which ``end_process`` tells why: made by ``form``, its end of line included."""
    _last_line.append(form)


def raise_on_signals() -> None:
    """From now on SIGTERM, SIGINT and SIGHUP raise ``Interrupted`` in the main thread, once.

    A job that was begun with ``nohup`` goes on when its terminal is closed.
    """
    arrivals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    stderr = os.dup(2)  # what the process was begun with: Ray's start is kept off descriptor 2
    arguments = (arrivals, stderr)
    threading.Thread(target=_end_in_time, args=arguments, name="interrupt", daemon=True).start()
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # the end takes its two seconds whatever else arrives
    _arrived.append(Interrupted(number))
    raise _arrived[-1]


def arrived() -> Interrupted | None:
    """The interruption of this process; libraries may have made another exception of it."""
    return _arrived[-1] if _arrived else None


def _end_in_time(arrivals: socket.socket, stderr: int) -> None:
    """Python writes a byte for each signal that has a handler, whoever's."""
    while (number := arrivals.recv(1)[0]) not in SIGNALS:
        pass
    if not _is_handled.wait(GRACE_S):
        end_process(Interrupted(number), LIMIT_S - GRACE_S, stderr)


def handled() -> None:
    """The interruption was what was waited for: the process ends in its own time."""
    _is_handled.set()


def end_process(end: End, limit_s: float, stderr: int = 2) -> NoReturn:
    """Say the last words of what is under way, and end the process; for any thread.

    Parameters
    ----------
    limit_s : after so long it ends, whatever has been said
    stderr : descriptor to tell the error on
    """
    latest = threading.Timer(limit_s, os._exit, [end.exit_code])
    latest.daemon = True
    latest.start()
    for say in reversed(_when_interrupted):
        say(end)
    with suppress(OSError):  # nobody reads any more
        os.write(stderr, _last_line[-1](visible(str(end))).encode())
    os._exit(end.exit_code)
