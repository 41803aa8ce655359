"""What a person sees while a job runs, and at its end."""

import sys
import threading
import time
from types import TracebackType
from typing import Final, Self, TextIO

from pipelines.output.tally import Tally

ON_TERMINAL_S: Final = 1.0
IN_LOG_S: Final = 10.0


class Progress:
    """A line on standard error, replaced in place on a terminal; also while nothing happens.

    Parameters
    ----------
    n_clips : clips to work on
    interval_s : seconds between lines; None: what suits the stream
    """

    def __init__(
        self, n_clips: int, stream: TextIO | None = None, interval_s: float | None = None
    ) -> None:
        self._n_clips = n_clips
        self._stream = stream or sys.stderr
        self._interactive = self._stream.isatty()
        self._interval_s = interval_s or (ON_TERMINAL_S if self._interactive else IN_LOG_S)
        self._tally = Tally()
        self._start = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join(0.5)  # a terminal that is held must not hold the end of the job
        self._write("\n")

    def update(self, tally: Tally) -> None:
        """Tell what is done so far."""
        self._tally = tally

    def _tick(self) -> None:
        while not self._ended.wait(self._interval_s):
            self._write("" if self._interactive else "\n")

    def _write(self, end: str) -> None:
        line = self.line(time.monotonic() - self._start)
        self._stream.write((f"\r\x1b[K{line}" if self._interactive else line) + end)
        self._stream.flush()

    def line(self, elapsed_s: float) -> str:
        """What there is to say after so many seconds."""
        tally = self._tally
        n_done = tally.n_tagged + tally.n_failed
        speed = n_done / max(elapsed_s, 1e-3)
        left = f"{duration((self._n_clips - n_done) / speed)} left" if n_done else "starting"
        return (
            f"{n_done:,} of {self._n_clips:,} clips, {tally.audio_s / 3600:.2f} h of audio, "
            f"{speed:.1f} clips/s, {tally.n_failed:,} failed, {left}"
        )


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
