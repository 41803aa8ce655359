"""What a person sees while a job runs, and at its end."""

import sys
import time
from typing import Final, TextIO

from pipelines.stages import Tally

INTERVAL_S: Final = 2.0


class Progress:
    """A line on standard error every two seconds; replaced in place on a terminal.

    Parameters
    ----------
    n_clips : clips to work on
    """

    def __init__(self, n_clips: int, stream: TextIO | None = None) -> None:
        self._n_clips = n_clips
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._shown = self._start
        self._interactive = self._stream.isatty()

    def show(self, tally: Tally, last: bool = False) -> None:
        """Report on what is done so far."""
        now = time.monotonic()
        if not last and now - self._shown < INTERVAL_S:
            return
        self._shown = now
        n_done = tally.n_tagged + tally.n_failed
        speed = n_done / (now - self._start)
        left = duration((self._n_clips - n_done) / speed) if n_done else "?"
        line = (
            f"{n_done:,} of {self._n_clips:,} clips, {tally.audio_s / 3600:.2f} h of audio, "
            f"{speed:.1f} clips/s, {tally.n_failed:,} failed, {left} left"
        )
        end = "\n" if last or not self._interactive else ""
        self._stream.write((f"\r\x1b[K{line}" if self._interactive else line) + end)
        self._stream.flush()


def duration(seconds: float) -> str:
    """For people: 45 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
