"""Ending in good order, and in time, when somebody says stop.

``ray job stop`` and schedulers send SIGTERM and some seconds later SIGKILL. So the first signal
raises ``Interrupted`` in the main thread, which ends the job the usual way, up through its context
managers; and a thread of its own ends the process ``LIMIT_S`` later, wherever the main thread is
by then: in a store that does not answer, in code of Ray's that has put another handler in place.
"""

import os
import signal
import socket
import threading
import time
from types import FrameType
from typing import Final

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
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


def raise_on_signals() -> None:
    """From now on SIGTERM and SIGINT raise ``Interrupted`` in the main thread, once."""
    arrivals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(arrivals,), name="interrupt", daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # the end takes its two seconds whatever else arrives
    raise Interrupted(number)


def _end_in_time(arrivals: socket.socket) -> None:
    """Python writes a byte for each signal that has a handler, whoever's."""
    while (number := arrivals.recv(1)[0]) not in SIGNALS:
        pass
    time.sleep(LIMIT_S)
    os._exit(Interrupted(number).exit_code)
