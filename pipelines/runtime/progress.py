"""How far a job is, on standard error while it goes on.

``tqdm`` writes the line; when it is shown is decided here, since tqdm shows it as steps are done,
and a person wants to see also that nothing gets done.
"""

import logging
import shutil
import sys
import threading
import time
from types import TracebackType
from typing import Final, Self, TextIO

from tqdm import tqdm

from pipelines.runtime import standard_streams
from pipelines.runtime.visible import visible

ON_TERMINAL_S: Final = 1.0
IN_LOG_S: Final = 10.0


class Progress:
    """A line that tells how far a job is, from a thread of its own.

    On a terminal one line is replaced every second. Elsewhere a new line comes every ten seconds,
    as it does under ``--verbose``, whose messages would break the one line. A job that is over
    before its first line is due says nothing, nor does one that has nothing to do.

    A standard error that is closed, or whose reader has left, ends the lines and nothing else.

    Parameters
    ----------
    what : begins the line, such as ``"tagging"`` or the name of a file
    unit : what is counted, such as ``"clips"``; ``"B"`` is told in kB, MB and so on
    total : how many there are; None: unknown
    n_before : how many were done earlier; they do not count as this job's speed
    stream : None: standard error
    interval_s : seconds between lines; None: what suits the stream
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        n_before: int = 0,
        stream: TextIO | None = None,
        interval_s: float | None = None,
    ) -> None:
        self.total = total
        self._what, self._unit, self._n_before = what, unit, n_before
        self._said = n_before, ""
        self._stream = stream or sys.stderr
        self._in_place = _is_free_terminal(self._stream)
        self._interval_s = interval_s or (ON_TERMINAL_S if self._in_place else IN_LOG_S)
        self._start = time.monotonic()
        self._shown = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        if self.total != 0:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(0.5)  # a terminal that is held must not hold the end of the job
        if self._shown and self._in_place and not self._thread.is_alive():
            self._write("\n")

    def show(self, n_done: int, note: str = "") -> None:
        """Tell how many are done in all, and whatever else is worth knowing."""
        self._said = n_done, note

    def line(self, elapsed_s: float) -> str:
        """What there is to say after so many seconds."""
        n_done, note = self._said
        is_size = self._unit == "B"
        return tqdm.format_meter(
            n_done,
            self.total,  # type: ignore[arg-type]  # which may be None, says tqdm's documentation
            elapsed_s,
            ncols=shutil.get_terminal_size().columns - 1 if self._in_place else 0,
            prefix=visible(self._what),
            unit="B" if is_size else f" {self._unit}",
            unit_scale=is_size,
            postfix=visible(note),
            initial=min(self._n_before, n_done),
        )

    def _tick(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._shown = True
            self._write("" if self._in_place else "\n")

    def _write(self, end: str) -> None:
        line = self.line(time.monotonic() - self._start)
        text = (f"\r\x1b[K{line}" if self._in_place else line) + end
        if not standard_streams.tell(text, self._stream):
            self._ended.set()


def _is_free_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which nothing else is written meanwhile."""
    is_verbose = logging.getLogger("pipelines").isEnabledFor(logging.INFO)
    return not stream.closed and stream.isatty() and not is_verbose


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
