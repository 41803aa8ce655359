"""Ending in good order, and in time, when somebody says stop.

``ray job stop`` and schedulers send SIGTERM and some seconds later SIGKILL. So the first signal
raises ``Interrupted`` in the main thread, which ends the job the usual way, up through its context
managers. Where that takes too long (Ray shuts its executor down first, or has put another handler
in place), a thread of its own says the job's last words after ``GRACE_S`` and ends the process; at
the latest after ``LIMIT_S``, should a store not answer.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
GRACE_S: Final = 0.6
LIMIT_S: Final = 1.7


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived; not an ``Exception``: nothing may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return 128 + self.number


_when_interrupted: list[Callable[[Interrupted], None]] = []


@contextmanager
def when_interrupted(say: Callable[[Interrupted], None]) -> Iterator[None]:
    """Have ``say`` called, in another thread, if the block is not left soon after a signal."""
    _when_interrupted.append(say)
    try:
        yield
    finally:
        _when_interrupted.remove(say)


def raise_on_signals() -> None:
    """From now on SIGTERM and SIGINT raise ``Interrupted`` in the main thread, once."""
    arrivals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    stderr = os.dup(2)  # what the process was begun with: Ray's start is kept off descriptor 2
    arguments = (arrivals, stderr)
    threading.Thread(target=_end_in_time, args=arguments, name="interrupt", daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # the end takes its two seconds whatever else arrives
    raise Interrupted(number)


def _end_in_time(arrivals: socket.socket, stderr: int) -> None:
    """Python writes a byte for each signal that has a handler, whoever's."""
    while (number := arrivals.recv(1)[0]) not in SIGNALS:
        pass
    interrupt = Interrupted(number)
    latest = threading.Timer(LIMIT_S, os._exit, [interrupt.exit_code])
    latest.daemon = True
    latest.start()
    time.sleep(GRACE_S)
    for say in reversed(_when_interrupted):
        say(interrupt)
    os.write(stderr, f"error: {interrupt}\n".encode())
    os._exit(interrupt.exit_code)
