"""Pictures and sounds are read back by programs that others wrote."""

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.reporting.hearing import Sound
from pipelines.reporting.media import frames, mp3, picture, shades
from tagger.audio import waveform
from tagger.logmel import log_mel


def tone(hz, seconds, rate):
    return (0.2 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
def test_a_sound_keeps_its_length_its_pitch_and_is_loud(rate):
    samples, back_hz = soundfile.read(io.BytesIO(mp3(Sound(tone(1_000, 3.0, rate), rate))))
    assert len(samples) / back_hz == pytest.approx(3.0, abs=0.002)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * back_hz / len(samples) == pytest.approx(1_000, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("n", [0, 1, 100])
def test_a_sound_of_hardly_any_samples_is_a_sound(n):
    data = mp3(Sound(np.full(n, 0.5, np.float32), 44_100))
    assert data or n == 0
    picture(frames(Sound(np.full(n, 0.5, np.float32), 44_100), 0.5), 48, 16, (0.0, 1.0))


def test_a_silent_one_stays_silent():
    samples, _ = soundfile.read(io.BytesIO(mp3(Sound(np.zeros(16_000, np.float32), 16_000))))
    assert np.abs(samples).max() == 0.0


def test_a_picture_is_dark_where_there_is_sound():
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(16_000)
    samples = np.concatenate([quiet, tone(500, 1.0, 16_000)]).astype(np.float32)
    bands = frames(Sound(samples, 16_000), float(np.abs(samples).max()))
    with Image.open(io.BytesIO(picture(bands, 200, 64, shades(bands)))) as image:
        assert (image.format, image.size) == ("WEBP", (200, 64))
        grey = np.asarray(image.convert("L")).astype(float)
    row = 63 - int(np.argmax(bands[-20]))  # low bands are at the bottom
    assert grey[row, 120:].mean() < 40
    assert grey[:, :90].mean() > 200


def test_what_is_drawn_is_what_the_model_sees(tmp_path):
    samples = np.random.default_rng(1).standard_normal(2 * 44_100).astype(np.float32)
    samples[0] = samples[-1] = 4.9  # so that nothing is trimmed, and the peak is known
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 44_100, "FLOAT")
    signal, heard = waveform(path)
    assert (signal.content_start_s, signal.content_end_s) == (0.0, 2.0)
    drawn = frames(Sound(samples, 44_100), signal.peak)
    np.testing.assert_allclose(drawn, log_mel(heard), atol=1e-3)
