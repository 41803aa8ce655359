"""tagger.audio against librosa, and what the times and the two passes promise."""

import io
import subprocess
import sys
import tracemalloc
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr

from tagger.audio import load, loading, waveform
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.trimming import Envelope


def _noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_signal_is_librosas(encode, rate):
    samples = np.concatenate([np.zeros(rate // 3), _noise(rate, 3), np.zeros(rate // 4)])
    signal, ours = waveform(encode(samples, rate, "WAV:FLOAT"))
    trimmed, (start, end) = librosa.effects.trim(samples.astype(np.float32), top_db=60)
    theirs = librosa.resample(
        trimmed / np.abs(trimmed).max(),
        orig_sr=rate,
        target_sr=SAMPLE_RATE_HZ,
        res_type="soxr_hq",
    )
    assert abs(len(ours) - len(theirs)) <= 1  # librosa rounds up and fills with a zero
    np.testing.assert_allclose(ours, theirs[: len(ours)], atol=1e-6)
    assert (signal.content_start_s, signal.content_end_s) == (start / rate, end / rate)
    assert signal.duration_s == len(samples) / rate
    assert signal.peak == np.abs(samples.astype(np.float32)).max()


def test_sixteen_kilohertz_is_left_as_it_is(encode):
    samples = _noise(16_000)
    _, ours = waveform(encode(samples, 16_000, "WAV:FLOAT"))
    np.testing.assert_array_equal(ours, samples / np.abs(samples).max())


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG:VORBIS", "OGG:OPUS", "MP3", "ipod/aac"])
def test_times_are_those_of_the_recording(encode, kind):
    """A click at 1.5 s is found there: encoder delays are cut off, trimming is added back."""
    rate = 48_000
    samples = np.zeros(3 * rate, np.float32)
    samples[rate * 3 // 2] = 0.9
    signal, ours = waveform(encode(samples, rate, kind))
    click_s = signal.content_start_s + np.abs(ours).argmax() / SAMPLE_RATE_HZ
    assert click_s == pytest.approx(1.5, abs=0.001)
    assert signal.content_start_s > 1.0
    assert signal.duration_s == pytest.approx(3.0, abs=0.05)
    assert signal.damage is None


@pytest.mark.parametrize("n", [1, 2, 5, 80, 441, 511, 512, 513])
@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_the_shortest_recordings_have_a_signal(encode, n, rate):
    signal, ours = waveform(encode(np.full(n, 0.25), rate))
    assert len(ours) == max(1, int(n * SAMPLE_RATE_HZ / rate + 0.5))
    assert np.isfinite(ours).all() and ours.any()
    assert (signal.content_start_s, signal.content_end_s) == (0.0, signal.duration_s)


@pytest.mark.parametrize("tiny", [1e-44, 1e-30, 1e-8])
def test_the_quietest_recordings_are_raised_to_full_scale(encode, tiny):
    samples = np.sin(np.arange(8_000) * 0.3) * tiny
    _, ours = waveform(encode(samples, 16_000, "WAV:FLOAT"))
    assert np.abs(ours).max() == 1.0


@pytest.mark.parametrize(
    ("samples", "kind", "reason"),
    [
        ([0.0, np.nan, 0.5], "WAV:FLOAT", Reason.NON_FINITE),
        ([0.0, np.inf, 0.5], "WAV:FLOAT", Reason.NON_FINITE),
        ([0.0, -np.inf, 0.5], "WAV:DOUBLE", Reason.NON_FINITE),
        ([0.0, 1e300, 0.5], "WAV:DOUBLE", Reason.NON_FINITE),  # more than float32 holds
        ([0.0] * 5_000, "FLAC", Reason.SILENT),
        ([], "WAV", Reason.EMPTY),
    ],
)
def test_unusable_samples(encode, samples, kind, reason):
    with pytest.raises(ClipError) as caught:
        load(encode(np.array(samples), 8_000, kind))
    assert caught.value.reason is reason


def test_rates_that_no_sound_has_are_unsupported(encode):
    assert load(encode(_noise(4_000), 1_000))[0].duration_s == 4.0
    for rate in (1, 999):
        with pytest.raises(ClipError, match=f"rate of {rate} Hz") as caught:
            load(encode(_noise(4_000), rate))
        assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("kind", ["FLAC", "MP3"])
def test_the_limit_is_on_decoded_hours(encode, kind):
    data = encode(_noise(16_000 * 40), 16_000, kind)
    assert load(data, max_hours=41 / 3_600)[0].duration_s == pytest.approx(40, abs=0.2)
    with pytest.raises(ClipError) as caught:
        load(data, max_hours=39 / 3_600)
    assert caught.value.reason is Reason.TOO_LONG


@pytest.fixture(scope="module")
def long_flac(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 minutes at 8 kHz, more than is kept between the passes; the first 5 s are silent."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    minute = (_noise(8_000 * 60) * np.sin(np.linspace(0, 3, 8_000 * 60))).astype(np.float32)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as out:
        out.write(np.zeros(8_000 * 5, np.float32))
        for _ in range(50):
            out.write(minute)
    return path


def test_long_recordings_give_the_same_samples_as_whole_ones(long_flac):
    rate, _, blocks = decode_blocks(long_flac)
    whole = np.concatenate(list(blocks))
    assert len(whole) > 2**24
    envelope = Envelope()
    envelope.add(whole, 1.0)
    start, end = envelope.bounds()
    expected = soxr.resample(whole[start:end] / np.abs(whole).max(), rate, SAMPLE_RATE_HZ, "HQ")
    signal, pieces = load(long_flac)
    assert np.array_equal(np.concatenate(list(pieces)), expected)  # no tolerance needed
    assert (signal.content_start_s, signal.content_end_s) == (start / rate, end / rate)


def test_decoded_hours_are_told_before_the_recording_has_been_gone_through(encode):
    samples = np.zeros(2_100 * 3600, np.int16)
    samples[:4_000] = 10_000
    steps = loading(encode(samples, 1_000))
    assert [next(steps), next(steps), next(steps)] == pytest.approx([1.0, 1.0, 0.1], abs=0.003)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value[0].duration_s == 2.1 * 3600


def test_long_recordings_need_bounded_memory(long_flac):
    tracemalloc.start()
    try:
        signal, blocks = load(long_flac)
        n = sum(len(block) for block in blocks)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == round((signal.content_end_s - signal.content_start_s) * SAMPLE_RATE_HZ)
    assert peak < 85e6  # decoded as a whole it has 96 MB, at 16 kHz 192 MB


def test_a_long_recording_that_shrinks_between_the_passes_is_noticed(long_flac):
    file = io.BytesIO(long_flac.read_bytes())
    _, blocks = load(file)
    samples, rate = soundfile.read(long_flac, frames=8_000 * 60, dtype="int16")
    file.seek(0)
    file.truncate()
    soundfile.write(file, samples, rate, format="FLAC")
    with pytest.raises(ClipError) as caught:
        list(blocks)
    assert caught.value.reason is Reason.CHANGED_DURING_RUN


def test_nothing_heavy_is_imported():
    heavy = "{'librosa', 'numba', 'torch', 'ray', 'av'}"
    code = f"import sys, tagger.audio; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
