"""A recording of any length as strips, one below the other, and as sounds of bounded size.

All is made in one pass, block by block, so that a day of sound takes no more memory than a minute:
a column of a strip keeps the highest of the log-mel frames that fall on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from pipelines.reporting.media import Mp3, picture, shades
from pipelines.reporting.page import Keep
from tagger.arrays import FloatArray
from tagger.audio import resampled
from tagger.logmel import HOP_LENGTH, N_BANDS, SAMPLE_RATE_HZ, log_mel

MOST_STRIPS: Final = 24
WIDTH: Final = 1200  # pixels
HEIGHT: Final = 112
PART_S: Final = 600.0  # of a sound, where all of a recording is kept

_ONE_STRIP_S: Final = 60.0
_LENGTHS_S: Final = (20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
_FRAMES_PER_S: Final = SAMPLE_RATE_HZ / HOP_LENGTH

Span = tuple[float, float]
"""From one second of a recording to another."""


class Stretch(NamedTuple):
    """A part of a recording that can be heard, and what the page calls its sound."""

    start_s: float
    end_s: float
    sound: str


def strip_length_s(duration_s: float) -> float:
    """How long a strip is: all of a short recording, else a round number of seconds."""
    if duration_s <= _ONE_STRIP_S:
        return max(duration_s, 0.1)
    return next(
        (s for s in map(float, _LENGTHS_S) if duration_s / s <= MOST_STRIPS),
        duration_s / MOST_STRIPS,
    )


def spans(duration_s: float) -> list[Span]:
    """From where to where each strip goes; the last may go beyond the end."""
    length_s = strip_length_s(duration_s)
    n_strips = max(1, int(np.ceil(duration_s / length_s - 1e-9)))
    return [(i * length_s, (i + 1) * length_s) for i in range(n_strips)]


class Spectrogram:
    """The log-mel frames of a recording, joined to the columns of its strips.

    Parameters
    ----------
    peak : of the recording, which normalisation makes 1
    """

    def __init__(self, duration_s: float, peak: float) -> None:
        self._length_s = strip_length_s(duration_s)
        self._n_columns = min(WIDTH, max(1, int(self._length_s * _FRAMES_PER_S)))
        shape = (len(spans(duration_s)) * self._n_columns, N_BANDS)
        self._columns = np.full(shape, -np.inf, np.float32)
        self._gain = np.float32(1.0 / (peak or 1.0))

    def watch(self, blocks: Iterable[FloatArray], sample_rate_hz: int) -> None:
        """Take note of a recording, (n,) float32 a block."""
        rest = np.empty(0, np.float32)
        n_frames = 0
        for piece in resampled((self._gain * block for block in blocks), sample_rate_hz):
            rest = np.concatenate([rest, piece])
            bands = log_mel(rest)
            self._add(bands, n_frames)
            n_frames += len(bands)
            rest = rest[len(bands) * HOP_LENGTH :]

    def _add(self, bands: FloatArray, n_before: int) -> None:
        centres_s = (np.arange(n_before, n_before + len(bands)) + 0.5) / _FRAMES_PER_S
        places = (centres_s / self._length_s * self._n_columns).astype(np.int64)
        within = places < len(self._columns)
        np.maximum.at(self._columns, places[within], bands[within])

    def pictures(self) -> Iterator[bytes]:
        """The strips as WebP; what is beyond the end is white."""
        known = np.isfinite(self._columns[:, 0])
        ends = shades(self._columns[known]) if known.any() else (0.0, 1.0)
        columns = np.where(known[:, None], self._columns, np.float32(ends[0]))
        for strip in columns.reshape(-1, self._n_columns, N_BANDS):
            yield picture(strip, WIDTH, HEIGHT, ends)


class Recorder:
    """Stretches of a recording as sounds, each kept as soon as it is complete.

    Parameters
    ----------
    wanted : in order of time, none of which overlap
    """

    def __init__(self, wanted: Sequence[Span], rate_hz: int, peak: float, keep: Keep) -> None:
        self.stretches: list[Stretch] = []
        self._wanted = list(wanted)
        self._rate_hz, self._peak, self._keep = rate_hz, peak, keep
        self._encoder: Mp3 | None = None
        self._n_encoded = 0

    def pass_on(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        """The same blocks, heard on their way."""
        at = 0
        for block in blocks:
            self._hear(block, at)
            at += len(block)
            yield block
        self._close()

    def _hear(self, block: FloatArray, at: int) -> None:
        while self._wanted:
            first, last = (round(second * self._rate_hz) - at for second in self._wanted[0])
            if first >= len(block):
                return
            part = block[max(0, first) : max(0, last)]
            if self._encoder is None:
                self._encoder = Mp3(self._rate_hz, self._peak)
            self._encoder.add(part)
            self._n_encoded += len(part)
            if last > len(block):
                return
            self._close()

    def _close(self) -> None:
        if self._encoder is None:
            return
        start_s, _ = self._wanted.pop(0)
        sound = self._encoder.close()
        if self._n_encoded:
            end_s = start_s + self._n_encoded / self._rate_hz
            self.stretches.append(Stretch(start_s, end_s, self._keep(sound, ".mp3")))
        self._encoder, self._n_encoded = None, 0
