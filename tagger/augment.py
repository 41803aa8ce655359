"""Pitch shifting with a phase vocoder (paper section 3.2).

A shift by n semitones stretches the clip in time by 2^(n/12) without moving its frequencies, then
plays it that much faster. The paper uses librosa's ``effects.pitch_shift`` and later resamples to
16 kHz. Here the faster playing and that resampling are one resampling. Since it drops what lies
above 8 kHz, those frequency bins are dropped before the phase vocoder, which has less to do then.
The spectrum is librosa's.

Conventions: waveforms are (n_samples,) float32 mono; spectra are (n_frames, n_bins) complex64.
"""

from functools import cache
from typing import Final

import numpy as np
import scipy.fft
import soxr

from tagger.arrays import ComplexArray, FloatArray
from tagger.logmel import SAMPLE_RATE_HZ

_WINDOW_LENGTH: Final = 2048  # librosa's defaults: periodic Hann window, hop of a quarter
_OVERLAP: Final = 4
_HOP_LENGTH: Final = _WINDOW_LENGTH // _OVERLAP
_SYNTHESIS_LENGTHS: Final = (512, 640, 768, 1024, 1280, 1536, 1792, _WINDOW_LENGTH)
_TINY: Final = np.float32(1e-30)  # a magnitude without a phase
_MARGIN: Final = 1.1  # bandwidth kept beyond the target's, for the resampler's transition band


def pitch_shift(
    waveform: FloatArray,
    sample_rate_hz: float,
    n_semitones: int,
    target_rate_hz: int = SAMPLE_RATE_HZ,
) -> FloatArray:
    """The waveform shifted by some semitones and resampled, its duration unchanged.

    Equals ``librosa.effects.pitch_shift(bins_per_octave=12, res_type="soxr_hq")`` followed by
    resampling to the target rate; their log-mel values differ by less than 0.01 on average. The
    peak moves, so normalise afterwards.

    Parameters
    ----------
    waveform : (n_samples,) float32, at least one sample
    sample_rate_hz : of the waveform
    n_semitones : how far; upwards when positive
    target_rate_hz : of the result

    Returns
    -------
    (round(n_samples * target_rate_hz / sample_rate_hz), at least 1) float32
    """
    stretch = 2.0 ** (n_semitones / 12)
    length = _synthesis_length(sample_rate_hz, target_rate_hz / stretch)
    decimation = _WINDOW_LENGTH / length
    spectrum = _stretched(_analysis(waveform, length // 2), stretch)
    stretched = _synthesis(spectrum, length, round(len(waveform) * stretch / decimation))
    rate_hz = sample_rate_hz * stretch / decimation
    shifted = soxr.resample(stretched, rate_hz, target_rate_hz, quality="HQ")
    n_samples = max(1, round(len(waveform) * target_rate_hz / sample_rate_hz))
    return np.pad(shifted[:n_samples], (0, max(0, n_samples - len(shifted))))


def _synthesis_length(sample_rate_hz: float, needed_rate_hz: float) -> int:
    """Window length, in samples of a lower rate, that still holds all bins that are needed."""
    needed = _WINDOW_LENGTH * _MARGIN * needed_rate_hz / sample_rate_hz
    return next((n for n in _SYNTHESIS_LENGTHS if n >= needed), _WINDOW_LENGTH)


@cache
def _window(length: int) -> FloatArray:
    """Periodic Hann window."""
    phase = 2.0 * np.pi * np.arange(length) / length
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def _analysis(waveform: FloatArray, n_bins: int) -> ComplexArray:
    """The lowest bins of the short-time Fourier transform, frames centred on hops."""
    padded = np.pad(waveform, _WINDOW_LENGTH // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_LENGTH)[::_HOP_LENGTH]
    spectrum: ComplexArray = scipy.fft.rfft(frames * _window(_WINDOW_LENGTH))[:, :n_bins]
    return spectrum


def _stretched(spectrum: ComplexArray, stretch: float) -> ComplexArray:
    """The phase vocoder: the same hop, ``stretch`` times as many frames.

    Magnitudes are interpolated between neighbouring frames. The phase of each bin advances by what
    it advances there, which for equal hops needs no angles: it is a product of unit phasors.
    """
    steps = np.arange(0, len(spectrum), 1 / stretch)
    frame = steps.astype(np.intp)
    between = (steps - frame).astype(np.float32)[:, None]
    spectrum = np.concatenate([spectrum, np.zeros_like(spectrum[:2])])
    magnitude = np.abs(spectrum)
    phasor = spectrum * (1 / np.maximum(magnitude, _TINY))
    phasor[magnitude < _TINY] = 1
    advance = phasor[1:] * phasor[:-1].conj()
    phase = np.concatenate([phasor[:1], advance[frame[:-1]]])
    for number in range(1, len(phase)):  # numpy's cumprod takes ten times as long
        np.multiply(phase[number - 1], phase[number], out=phase[number])
    phase *= (1 - between) * magnitude[frame] + between * magnitude[frame + 1]
    return phase


def _synthesis(spectrum: ComplexArray, length: int, n_samples: int) -> FloatArray:
    """The waveform of centred frames of ``length`` samples, by weighted overlap-add."""
    window = _window(length)
    scale = np.float32(length / _WINDOW_LENGTH)
    frames = scipy.fft.irfft(spectrum, length) * (window * scale)
    summed = _overlap_added(frames)
    weights = _overlap_added(np.broadcast_to(window**2, frames.shape))
    content = slice(length // 2, length // 2 + n_samples)
    summed[content] /= np.maximum(weights[content], _TINY)
    return summed[content]


def _overlap_added(frames: FloatArray) -> FloatArray:
    """The sum of frames that lie a quarter of their length apart."""
    hop = frames.shape[1] // _OVERLAP
    parts = frames.reshape(len(frames), _OVERLAP, hop)
    summed = np.zeros((len(frames) + _OVERLAP - 1, hop), np.float32)
    for place in range(_OVERLAP):
        summed[place : place + len(frames)] += parts[:, place]
    return summed.ravel()
