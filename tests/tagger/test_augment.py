"""Pitch shifting (paper section 3.2) against librosa, and on pure tones."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import augment, logmel


def _sounds(sample_rate_hz, duration_s=1.5):
    """A harmonic sweep, noise that comes and goes, and clicks, over a floor of -60 dB.

    Without the floor, the phases of bins that hold nothing but rounding errors are arbitrary in
    both implementations, and the next click shows it.
    """
    t = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    rng = np.random.default_rng(0)
    sweep = sum(np.sin(2 * np.pi * k * (220 * t + 150 * t**2)) / k for k in range(1, 9))
    noise = rng.normal(size=len(t)) * (np.sin(2 * np.pi * 1.5 * t) > 0)
    clicks = np.zeros(len(t))
    clicks[:: sample_rate_hz // 5] = 1
    floor = 0.001 * rng.normal(size=len(t))
    mixture = floor + 0.2 * sweep + 0.05 * noise + clicks
    return (mixture / np.abs(mixture).max()).astype(np.float32)


def _librosa(waveform, sample_rate_hz, n_semitones):
    """What the paper's authors called, then a resampling to 16 kHz of the same kind."""
    shifted = librosa.effects.pitch_shift(
        waveform, sr=sample_rate_hz, n_steps=n_semitones, bins_per_octave=12, res_type="soxr_hq"
    )
    return librosa.resample(
        shifted, orig_sr=sample_rate_hz, target_sr=logmel.SAMPLE_RATE_HZ, res_type="soxr_hq"
    )


@pytest.mark.parametrize("sample_rate_hz", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("n_semitones", [-12, -5, -1, 1, 3, 7, 12])
def test_log_mel_equals_librosas(sample_rate_hz, n_semitones):
    waveform = _sounds(sample_rate_hz)
    ours = logmel.log_mel(augment.pitch_shift(waveform, sample_rate_hz, n_semitones))
    theirs = logmel.log_mel(_librosa(waveform, sample_rate_hz, n_semitones))
    n_frames = min(len(ours), len(theirs))
    assert len(theirs) - n_frames <= 1
    difference = np.abs(ours[:n_frames] - theirs[:n_frames])
    assert difference.mean() < 0.002
    assert np.quantile(difference, 0.99) < 0.02


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("n_semitones", [-12, -7, 0, 4, 12])
def test_a_pure_tone_moves_by_so_many_semitones(sample_rate_hz, n_semitones):
    t = np.arange(sample_rate_hz) / sample_rate_hz
    tone = np.sin(2 * np.pi * 1000 * t).astype(np.float32)
    shifted = augment.pitch_shift(tone, sample_rate_hz, n_semitones)
    middle = shifted[4000:12_000] * np.hanning(8000)
    peak_hz = np.abs(np.fft.rfft(middle, 160_000)).argmax() / 10
    assert peak_hz == pytest.approx(1000 * 2 ** (n_semitones / 12), rel=0.002)
    assert 0.85 < np.abs(shifted[4000:12_000]).max() < 1.05  # librosa's loses as much


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5000),
    st.sampled_from([8_000, 16_000, 44_100, 192_000]),
    st.integers(-12, 12),
)
def test_the_duration_stays(n_samples, sample_rate_hz, n_semitones):
    waveform = np.random.default_rng(n_samples).uniform(-1, 1, n_samples).astype(np.float32)
    shifted = augment.pitch_shift(waveform, sample_rate_hz, n_semitones)
    assert len(shifted) == max(1, round(n_samples * 16_000 / sample_rate_hz))
    assert shifted.dtype == np.float32
    assert np.isfinite(shifted).all()


def test_silence_stays_silent():
    assert not augment.pitch_shift(np.zeros(44_100, np.float32), 44_100, 5).any()
