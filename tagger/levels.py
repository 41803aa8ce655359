"""How loud a recording is, channel by channel, and what readers of its tags should know of that.

The mean over the channels is the rule (PAPER.md D3). Where they cancel each other the mean holds
hardly anything of the recording, so the loudest channel stands for it. ``Downmix`` watches for that
at the cost of one sum; it errs on the side of suspicion, and ``ChannelLevels`` decides.
"""

from typing import Final

import numpy as np

from tagger.arrays import DoubleArray, FloatArray
from tagger.recording import Mix, mono

TRIMMED: Final = "over 90 % of the recording was trimmed as silence"
OFFSET: Final = "hardly more than a constant offset"
CANCELLED: Final = "the channels cancel each other: the loudest one was taken"
CLIPPED: Final = "over 1 % of the samples clip"
NOTHING_BELOW_8_KHZ: Final = "nothing is left below 8 kHz"

_TRIMMED_PART: Final = 0.9
_OFFSET_RANGE: Final = 0.02  # of the peak
_CLIPPED_PART: Final = 0.01
_FULL_SCALE: Final = 0.9999  # of a full sine 0.9 % of the samples lie above it
_ANOTHER_SCALE: Final = 2.0  # a peak of numbers that are not meant as -1 to 1, and do not clip
_MAY_CLIP: Final = 0.005  # mean square of a block of which no more than half of these clip
_CLIP_COUNT: Final = 2**14  # samples that stay in a core's cache
_MEAN_LEFT: Final = 0.1  # of what unrelated channels give; two: 13 dB below their own level
_AS_LOUD: Final = 0.99
_BAND_LEFT: Final = 1e-4  # 40 dB


class Downmix:
    """The mean over the channels, and whether it hides the recording; a ``Mix``."""

    def __init__(self) -> None:
        self._unrelated = 0.0
        self._n_values = 0
        self._n_clipped = 0

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Mean over the channels, (n,), of (n, channels)."""
        energy = float(np.vdot(samples, samples))
        self._unrelated += energy / samples.shape[1] ** 2
        self._n_values += samples.size
        if not energy < _MAY_CLIP * samples.size:  # NaN where there is more than float32 holds
            self._n_clipped += _n_at_full_scale(samples.reshape(-1))
        return mono(samples)

    def clips(self, peak: float) -> bool:
        """Whether too many samples of any channel are at full scale; ``peak`` is of the mean."""
        return peak < _ANOTHER_SCALE and self._n_clipped > _CLIPPED_PART * self._n_values

    def may_cancel(self, energy: float) -> bool:
        """Whether a mean of that energy makes it worth to look at the channels one by one."""
        return not energy >= _MEAN_LEFT * self._unrelated


class ChannelLevels:
    """The energy of each channel and of their sum around their means; a ``Mix`` as well.

    In double precision: a constant offset is no sound, and may be a million times as strong.
    """

    def __init__(self) -> None:
        self._n = 0
        self._first: DoubleArray | None = None
        self._sums: DoubleArray = np.zeros(0)
        self._squares: DoubleArray = np.zeros(0)

    def __call__(self, samples: FloatArray) -> FloatArray:
        """The first channel, (n,), of (n, channels)."""
        if self._first is None:
            self._first = samples[0].astype(np.float64)
            self._sums = self._squares = np.zeros(samples.shape[1] + 1)
        if samples.shape[1] == len(self._first):  # a layout that comes on the way is left out
            shifted = samples - self._first  # constants become zeros to the last bit
            values = np.column_stack([shifted, shifted.sum(axis=1)])
            self._n += len(values)
            self._sums = self._sums + values.sum(axis=0)
            self._squares = self._squares + np.square(values).sum(axis=0)
        return samples[:, 0]

    def loudest_if_cancelled(self) -> int | None:
        """The number of the loudest channel, from 0; None where the mean will do.

        Of channels that are as loud but for a rounding the first.
        """
        *channels, both = self._squares - self._sums**2 / max(1, self._n)
        if both >= _MEAN_LEFT * sum(channels):
            return None
        return int(np.argmax(np.array(channels) >= _AS_LOUD * max(channels)))


def _n_at_full_scale(values: FloatArray) -> int:
    parts = (values[i : i + _CLIP_COUNT] for i in range(0, len(values), _CLIP_COUNT))
    return sum(int(np.count_nonzero(np.abs(part) >= _FULL_SCALE)) for part in parts)


def one_channel(number: int) -> Mix:
    """The channel of that number, from 0, in place of the mean."""

    def pick(samples: FloatArray) -> FloatArray:
        return np.ascontiguousarray(samples[:, min(number, samples.shape[1] - 1)])

    return pick


def is_trimmed(start: int, end: int, n_samples: int) -> bool:
    """Whether trimming to ``start`` .. ``end`` has left hardly anything."""
    return end - start < (1.0 - _TRIMMED_PART) * n_samples


def is_offset(highest: float, lowest: float) -> bool:
    """Whether a waveform of these extremes is an offset with hardly anything on it."""
    return highest - lowest < _OFFSET_RANGE * max(highest, -lowest)


class Resampled:
    """A waveform at 16 kHz that comes in blocks, against what it was made of.

    Parameters
    ----------
    power : mean square before the resampling
    """

    def __init__(self, power: float) -> None:
        self._power = power
        self._n = 0
        self._sum = 0.0
        self._squares = 0.0

    def add(self, block: FloatArray) -> None:
        """Add the next (n,) samples."""
        self._n += len(block)
        self._sum += float(block.sum())
        self._squares += float(np.dot(block, block))

    @property
    def is_empty(self) -> bool:
        """Whether next to nothing is left, an offset apart."""
        offset = (self._sum / self._n) ** 2
        return self._squares / self._n - offset < _BAND_LEFT * (self._power - offset)


def joined(*notes: str | None) -> str | None:
    """Notes as one text; None where there is none."""
    return "; ".join(filter(None, notes)) or None
