"""Log-mel patches exactly as VGGish wants them (paper section 3.1; PAPER.md D4 and D5).

The front end is that of TensorFlow's VGGish (tensorflow/models, research/audioset/vggish:
``vggish_params.py``, ``mel_features.py``, ``vggish_input.py``), which torchvggish repeats. Other
front ends look alike and are not: with centred frames, powers instead of magnitudes, or another mel
scale the published weights give other embeddings.

Conventions: waveforms are (n_samples,) float32 mono at 16 kHz in [-1, 1]; a patch is (96, 64)
float32, time by band, natural logarithm. Frames are neither centred nor padded, and patches are cut
from the STFT of the whole signal: cutting the waveform into 0.96 s pieces first would leave 94
frames in each. Incomplete frames and patches at the tail are dropped.

The constants are the contract with the weights, so they are not configuration.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from tagger.arrays import DoubleArray, FloatArray

SAMPLE_RATE_HZ: Final = 16_000
WINDOW_LENGTH: Final = 400  # samples, 25 ms
HOP_LENGTH: Final = 160  # samples, 10 ms
FFT_LENGTH: Final = 512  # the next power of two
N_BANDS: Final = 64
MIN_HZ: Final = 125.0
MAX_HZ: Final = 7_500.0
LOG_OFFSET: Final = 0.01  # the DCASE baseline has 0.001
PATCH_FRAMES: Final = 96
SILENCE: Final = np.log(np.float32(LOG_OFFSET))  # every value of a patch of zeros

PATCH_HOP: Final = PATCH_FRAMES * HOP_LENGTH  # samples, 0.96 s
PATCH_LENGTH: Final = PATCH_HOP - HOP_LENGTH + WINDOW_LENGTH  # samples one patch needs, 0.975 s
SEGMENT_S: Final = PATCH_HOP / SAMPLE_RATE_HZ  # seconds

FRONT_END: Final = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "window_length": WINDOW_LENGTH,
    "hop_length": HOP_LENGTH,
    "fft_length": FFT_LENGTH,
    "n_bands": N_BANDS,
    "min_hz": MIN_HZ,
    "max_hz": MAX_HZ,
    "log_offset": LOG_OFFSET,
    "patch_frames": PATCH_FRAMES,
}
"""The front end as model cards and outputs record it."""


def n_patches(n_samples: int) -> int:
    """Whole patches in a signal of ``n_samples`` samples at 16 kHz."""
    return max(0, 1 + (n_samples - PATCH_LENGTH) // PATCH_HOP)


def hertz_to_mel(hz: npt.ArrayLike) -> DoubleArray:
    """Frequencies in Hz on the HTK mel scale, 1127 ln(1 + f/700); any shape."""
    return 1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0)


@cache
def mel_matrix() -> FloatArray:
    """Weights from FFT bins to mel bands, (257, 64) float32.

    Triangles linear in mel, not normalised, none on the DC bin.
    """
    bins = hertz_to_mel(np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT_LENGTH // 2 + 1))[:, None]
    edges = np.linspace(hertz_to_mel(MIN_HZ), hertz_to_mel(MAX_HZ), N_BANDS + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights.astype(np.float32)


@cache
def _window() -> DoubleArray:
    """Periodic Hann window, (400,) float64."""
    phase = 2.0 * np.pi * np.arange(WINDOW_LENGTH) / WINDOW_LENGTH
    return 0.5 - 0.5 * np.cos(phase)


def log_mel(waveform: FloatArray) -> FloatArray:
    """Log-mel frames, (n_frames, 64) float32, of a (n_samples,) waveform at 16 kHz.

    A waveform shorter than one frame has none. Spectra are computed in double precision: the
    rounding of a loud tone in single precision shows in quiet bands, by up to 1e-3. They are
    computed a patch's worth at a time, which stays in the CPU's cache.
    """
    if len(waveform) < WINDOW_LENGTH:
        return np.empty((0, N_BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW_LENGTH)[::HOP_LENGTH]
    bands = np.empty((len(frames), N_BANDS), np.float32)
    padded = np.zeros((PATCH_FRAMES, FFT_LENGTH))
    spectra = np.empty((PATCH_FRAMES, FFT_LENGTH // 2 + 1), np.complex128)
    for start in range(0, len(frames), PATCH_FRAMES):
        part = frames[start : start + PATCH_FRAMES]
        n = len(part)
        np.multiply(part, _window(), out=padded[:n, :WINDOW_LENGTH])
        np.fft.rfft(padded[:n], out=spectra[:n])
        magnitudes = np.abs(spectra[:n].astype(np.complex64))
        np.matmul(magnitudes, mel_matrix(), out=bands[start : start + n])
    bands += np.float32(LOG_OFFSET)
    return np.log(bands, out=bands)


def patches(waveform: FloatArray) -> FloatArray:
    """Log-mel patches, (n_patches, 96, 64) float32, of a (n_samples,) waveform at 16 kHz.

    A waveform too short for one patch is repeated until it has one (paper section 3.2, "repeat";
    PAPER.md D5).

    Raises
    ------
    ValueError : an empty waveform
    """
    return np.concatenate(list(stream_patches([waveform])))


def stream_patches(blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
    """Patches of a signal that comes in blocks of any size, equal to ``patches`` of the whole.

    Parameters
    ----------
    blocks : (n,) float32 pieces of one waveform at 16 kHz, in order

    Yields
    ------
    (n, 96, 64) float32, the patches that each block completes; the one patch of a waveform too
    short for it comes at the end

    Raises
    ------
    ValueError : no samples at all
    """
    rest = np.empty(0, np.float32)
    any_yet = False
    for block in blocks:
        rest = np.concatenate([rest, block]) if len(rest) else block
        if n := n_patches(len(rest)):
            yield _exact_patches(rest[: (n - 1) * PATCH_HOP + PATCH_LENGTH])
            rest = rest[n * PATCH_HOP :]
            any_yet = True
    if any_yet:
        return
    if not len(rest):
        raise ValueError("a waveform without samples has no patches")
    yield _exact_patches(np.resize(rest, PATCH_LENGTH))


def _exact_patches(waveform: FloatArray) -> FloatArray:
    """Patches of a waveform that is just long enough for them."""
    return log_mel(waveform).reshape(-1, PATCH_FRAMES, N_BANDS)
