"""Published figures of TensorFlow's VGGish, to check weights and implementations by.

Two sources. The notebook of torchvggish (``docs/_example_download_weights.ipynb``) shows a whole
embedding, made by TensorFlow 1.13.1 of a tone at 44.1 kHz that resampy 0.2.1 brought to 16 kHz, and
the uint8 that AudioSet's post-processing makes of it. TensorFlow's own ``vggish_smoke_test.py`` has
mean and standard deviation of the embeddings of a tone at 16 kHz, before any activation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tagger.arrays import ByteArray, DoubleArray, FloatArray
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.schema import EMBEDDING_SIZE

RECORDED_RATE_HZ: Final = 44_100
"""The rate of the tone whose embedding is published."""

_ZEROS: Final = 64  # zero crossings on each side of resampy 0.2.1's filter "kaiser_best"
_TABLE: Final = 512  # entries of its table per zero crossing
_BETA: Final = 14.769656459379492
_ROLL_OFF: Final = 0.9475937167399596


@dataclass(frozen=True)
class Reference:
    """What an extractor must reproduce.

    Attributes
    ----------
    embedding : (128,) float32, of the first patch of ``recorded_tone``, with ReLU
    quantised : (128,) uint8, what AudioSet's post-processing makes of it
    mean, std : of the embeddings of ``native_tone``, without activation
    conv_widths, hidden : widths of the network, those of the paper's Table 1
    """

    embedding: FloatArray
    quantised: ByteArray
    mean: float
    std: float
    conv_widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    hidden: int = 4096


def native_tone() -> FloatArray:
    """1 kHz for 3 s at 16 kHz, (48000,) float32."""
    return np.sin(2 * np.pi * 1000 * np.arange(0, 3, 1 / SAMPLE_RATE_HZ)).astype(np.float32)


def recorded_tone() -> DoubleArray:
    """1 kHz for 3 s at 44.1 kHz, both ends included, (132300,) float64."""
    return np.sin(2 * np.pi * 1000 * np.linspace(0, 3, 3 * RECORDED_RATE_HZ))


def as_resampy_02(waveform: DoubleArray) -> DoubleArray:
    """A (n,) waveform at 44.1 kHz brought to 16 kHz with the errors of resampy 0.2.1.

    That version stepped through its table of the filter in whole entries (185 instead of 185.76),
    which stretches the filter: the level rises by 0.3 % and side bands appear, so that log-mel
    values differ by 0.17 on average from those of any exact resampler.
    """
    ratio = SAMPLE_RATE_HZ / RECORDED_RATE_HZ
    step = int(ratio * _TABLE)
    n_taps = (_ZEROS * _TABLE + 1) // step
    table = np.r_[_filter_wing() * ratio, np.zeros(_TABLE)]
    slope = np.diff(table)
    n_samples = int(len(waveform) * ratio)
    times = np.cumsum(np.r_[0.0, np.full(n_samples - 1, 1 / ratio)])  # adds up, as resampy does
    at = times.astype(np.int64)
    left = ratio * (times - at) * _TABLE
    right = ratio * _TABLE - left
    padded = np.r_[np.zeros(n_taps), waveform, np.zeros(n_taps)]
    resampled = np.zeros(n_samples)
    for tap in range(n_taps):
        for offset, sample in ((left, at - tap), (right, at + 1 + tap)):
            entry = offset.astype(np.int64) + tap * step
            weights = table[entry] + offset % 1 * slope[entry]
            resampled += weights * padded[sample + n_taps]
    return resampled


def _filter_wing() -> DoubleArray:
    """The right half of a sinc under a Kaiser window, (64 x 512 + 1,)."""
    n_entries = _ZEROS * _TABLE
    window = np.kaiser(2 * n_entries + 1, _BETA)[n_entries:]
    sinc: DoubleArray = (
        _ROLL_OFF * np.sinc(_ROLL_OFF * np.linspace(0, _ZEROS, n_entries + 1)) * window
    )
    return sinc


def _vector(entries: Mapping[int, float]) -> FloatArray:
    """The embedding with these entries and zeros elsewhere."""
    vector = np.zeros(EMBEDDING_SIZE, np.float32)
    vector[list(entries)] = list(entries.values())
    return vector


# fmt: off
_EMBEDDING: Final = {
    7: .16137293, 17: .80695796, 25: .36792755, 26: .03582409, 31: .38027024, 32: .1375593,
    33: .9174708, 34: .8065634, 39: .04036281, 40: .7076243, 42: .497839, 43: .24081808,
    44: .21565434, 45: .88492286, 46: 1.19568, 47: .6706197, 48: .20779458, 49: .01639861,
    50: .17471863, 53: .25100806, 56: .14607918, 58: .39887053, 59: .30542105, 60: .12896761,
    66: .5385133, 69: .04941072, 70: .42527416, 71: .18537284, 74: .14753515, 77: .69933873,
    78: .45541188, 79: .05174822, 81: .01992539, 84: .5181578, 85: .565576, 86: .6587975,
    89: .41056332, 93: .25765193, 94: .23232114, 95: .24026448, 101: .26523757, 103: .48460823,
    106: .19325787, 108: .20123348, 110: .03368621, 115: .17836356, 116: .024749,
    117: .06889972, 121: .08246281,
}
_QUANTISED: Final = (
    169, 10, 154, 127, 191, 66, 124, 69, 157, 232, 142, 21, 128, 131, 43, 3, 33, 111, 198, 153, 76,
    255, 194, 60, 71, 179, 146, 131, 167, 60, 79, 76, 192, 84, 102, 160, 23, 91, 173, 13, 149, 186,
    115, 202, 252, 163, 84, 145, 107, 255, 5, 198, 81, 0, 203, 110, 35, 104, 101, 131, 255, 0, 0,
    158, 136, 74, 115, 152, 77, 154, 54, 151, 82, 243, 57, 116, 165, 153, 85, 181, 152, 0, 255, 122,
    29, 255, 46, 105, 110, 43, 0, 90, 58, 13, 255, 108, 96, 255, 84, 121, 255, 75, 176, 111, 176,
    64, 83, 231, 255, 82, 255, 94, 81, 144, 99, 173, 255, 0, 0, 158, 31, 230, 112, 255, 0, 255, 20,
    255,
)
# fmt: on

PUBLISHED: Final = Reference(
    _vector(_EMBEDDING), np.array(_QUANTISED, np.uint8), mean=0.000657, std=0.343
)
