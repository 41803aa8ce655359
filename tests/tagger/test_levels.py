"""Channels that cancel, constants, and what ``notes`` tell of levels."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagger import audio, levels
from tagger.audio import load, original, waveform
from tagger.errors import ClipError, Reason
from tagger.logmel import SAMPLE_RATE_HZ

RATE = 16_000


def _beeps(seconds: float = 3.0, rate: int = RATE) -> np.ndarray:
    """Second k is a tone of 300 (k + 1) Hz for 0.9 s."""
    t = np.arange(int(seconds * rate)) / rate
    return 0.5 * np.sin(2 * np.pi * 300 * (np.floor(t) + 1) * t) * (t % 1 < 0.9)


def _noise(level: float, n: int = 3 * RATE, seed: int = 0) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(n)


def _stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1)


def _hum(level: float) -> np.ndarray:
    return level * np.sin(2 * np.pi * 50 * np.arange(3 * RATE) / RATE)


LEFT = _beeps()
CANCELLING = {
    "one channel inverted": _stereo(LEFT, -LEFT),
    "and a little weaker": _stereo(0.93 * LEFT, -LEFT),
    "much weaker": _stereo(0.7 * LEFT, -LEFT),
    "beside a hum common to both": _stereo(LEFT + _hum(0.05), -LEFT + _hum(0.05)),
    "with noise of its own": _stereo(LEFT, -LEFT + _noise(0.003)),
    "and an offset common to both": _stereo(LEFT + 0.3, -LEFT + 0.3),
    "pairs of quadrophony": np.stack([0.2 * LEFT, -0.2 * LEFT, LEFT, -LEFT], axis=1),
    "pairs of 5.1 and a faint centre": np.stack(
        [LEFT, -LEFT, _noise(0.003), 0 * LEFT, 0.3 * LEFT, -0.3 * LEFT], axis=1
    ),
}
KEPT = {
    "the same twice": _stereo(LEFT, LEFT),
    "nine tenths of it inverted": _stereo(_noise(0.1), -0.9 * _noise(0.1) + _noise(0.06, seed=1)),
    "unrelated": _stereo(_noise(0.1), _noise(0.1, seed=1)),
    "one channel dead": _stereo(LEFT, 0 * LEFT),
    "inverted at half the level": _stereo(LEFT, -0.5 * LEFT),
    "one of eight": np.stack([LEFT, *[0 * LEFT] * 7], axis=1),
    "unlike offsets": _stereo(LEFT + 0.4, LEFT - 0.4),
    "quiet on an offset": _stereo(0.3 + _noise(0.002), 0.3 + _noise(0.002, seed=1)),
}


@pytest.mark.parametrize("kind", CANCELLING)
def test_of_channels_that_cancel_the_loudest_stands_for_the_recording(kind, encode):
    samples = CANCELLING[kind]
    levels_of = samples.std(axis=0)
    loudest = samples[:, np.argmax(levels_of > 0.999 * levels_of.max())]
    signal, ours = waveform(encode(samples, RATE, "WAV:FLOAT"))
    _, alone = waveform(encode(loudest, RATE, "WAV:FLOAT"))
    np.testing.assert_array_equal(ours, alone)
    assert signal.notes == levels.CANCELLED
    assert (signal.channels, signal.peak) == (samples.shape[1], np.float32(np.abs(loudest).max()))


@pytest.mark.parametrize("kind", KEPT)
def test_all_others_are_the_mean_to_the_last_bit(kind, encode):
    samples = KEPT[kind].astype(np.float32)
    mean = samples @ np.full(samples.shape[1], 1 / samples.shape[1], np.float32)
    signal, ours = waveform(encode(samples, RATE, "WAV:FLOAT"))
    _, alone = waveform(encode(mean, RATE, "WAV:FLOAT"))
    np.testing.assert_array_equal(ours, alone)
    assert signal.notes in (None, levels.OFFSET)


@pytest.mark.parametrize("kind", ["FLAC", "OGG:VORBIS", "MP3", "ipod/aac"])
def test_an_inverted_channel_is_noticed_by_both_decoders(kind, encode):
    signal, ours = waveform(encode(_stereo(LEFT, -LEFT), RATE, kind))
    _, alone = waveform(encode(LEFT, RATE, "WAV:FLOAT"))
    n = min(len(ours), len(alone))
    assert signal.notes == levels.CANCELLED
    assert np.corrcoef(ours[:n], alone[:n])[0, 1] > 0.99


def test_long_recordings_with_an_inverted_channel_give_the_same_samples(tmp_path: Path):
    """Longer than what is kept between the passes."""
    rate = 8_000
    path, alone = tmp_path / "both.flac", tmp_path / "left.flac"
    minute = np.int16(20_000 * _beeps(60.0, rate))
    with (
        soundfile.SoundFile(path, "w", rate, 2, "PCM_16") as both,
        soundfile.SoundFile(alone, "w", rate, 1, "PCM_16") as left,
    ):
        for k in range(36):
            part = minute // (k % 3 + 1)
            both.write(_stereo(part, -part))
            left.write(part)
    signal, blocks = load(path)
    expected, theirs = load(alone)
    assert signal.duration_s * rate > 2**24
    assert (signal.peak, signal.content_end_s) == (expected.peak, expected.content_end_s)
    assert signal.notes == levels.CANCELLED
    np.testing.assert_array_equal(np.concatenate(list(blocks)), np.concatenate(list(theirs)))


def test_pitch_shifting_starts_from_the_same_channel(encode):
    signal, ours = original(encode(_stereo(LEFT, -LEFT), RATE, "WAV:FLOAT"))
    assert signal.notes == levels.CANCELLED
    np.testing.assert_allclose(ours, LEFT[: len(ours)] / 0.5, atol=1e-3)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.full(5_000, 0.25), "0.25"),
        (np.full(5_000, -0.5), "-0.5"),
        (np.full(5_000, 1.0), "1.0"),
        (np.zeros((5_000, 2)), "zero"),
        (np.tile([0.25, 0.75], (5_000, 1)), "0.5"),
        (np.tile([0.25, -0.25], (5_000, 1)), "zero"),
        (np.full(50 * RATE, 0.25), "0.25"),
    ],
)
def test_a_constant_is_silent(samples, said, encode):
    with pytest.raises(ClipError) as caught:
        load(encode(samples, RATE, "WAV:FLOAT"))
    assert caught.value.reason is Reason.SILENT
    assert caught.value.detail == f"every sample is {said}"


def test_a_constant_with_a_step_is_not(encode):
    samples = np.full(5_000, 0.25)
    samples[2_000:] = 0.3
    assert load(encode(samples, RATE, "WAV:FLOAT"))[0].notes is None


@pytest.mark.parametrize(("swing", "note"), [(0.001, levels.OFFSET), (0.05, None)])
def test_hardly_more_than_an_offset_is_told(swing, note, encode):
    samples = 0.5 + swing * LEFT
    assert load(encode(samples, RATE, "WAV:FLOAT"))[0].notes == note


@pytest.mark.parametrize(("sounding_s", "note"), [(1.8, levels.TRIMMED), (2.3, None)])
def test_how_much_was_trimmed_is_told(sounding_s, note, encode):
    samples = np.zeros(20 * RATE)
    samples[5 * RATE : int((5 + sounding_s) * RATE)] = _noise(0.1, int(sounding_s * RATE))
    assert load(encode(samples, RATE, "WAV:FLOAT"))[0].notes == note


@pytest.mark.parametrize("kind", ["WAV:PCM_16", "WAV:PCM_24", "WAV:FLOAT", "FLAC"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("gain", "note"), [(2.0, None), (2.05, levels.CLIPPED)])
def test_clipping_is_told(kind, channels, gain, note, encode):
    """A full sine lies at full scale for less than 1 % of its samples, one beyond it for more."""
    tone = np.clip(gain * 0.5 * np.sin(np.arange(3 * RATE) * 0.1), -1, 1)
    samples = _stereo(0.1 * tone, tone) if channels == 2 else tone
    assert load(encode(samples, RATE, kind))[0].notes == note


def test_numbers_on_another_scale_do_not_clip(encode):
    assert load(encode(32_768 * LEFT, RATE, "WAV:FLOAT"))[0].notes is None


@pytest.mark.parametrize(
    ("rate", "hz", "offset", "note"),
    [
        (250_000, 45_000, 0.0, levels.NOTHING_BELOW_8_KHZ),
        (250_000, 45_000, 0.1, levels.NOTHING_BELOW_8_KHZ),
        (44_100, 12_000, 0.0, levels.NOTHING_BELOW_8_KHZ),
        (44_100, 7_000, 0.0, None),
        (44_100, 7_000, 0.5, None),
        (16_000, 7_900, 0.0, None),
        (8_000, 3_000, 0.0, None),
    ],
)
def test_what_16_khz_cannot_hold_is_told_when_the_waveform_was_read(rate, hz, offset, note, encode):
    samples = 0.4 * np.sin(2 * np.pi * hz * np.arange(2 * rate) / rate) + offset
    signal, blocks = load(encode(samples, rate, "WAV:FLOAT"))
    assert signal.notes is None
    assert sum(map(len, blocks)) == 2 * SAMPLE_RATE_HZ
    assert blocks.signal.notes == note
    mixed = samples + 0.05 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    assert waveform(encode(mixed, rate, "WAV:FLOAT"))[0].notes is None


def test_notes_are_told_together(encode):
    samples = np.zeros(20 * 44_100)
    tone = np.sign(np.sin(2 * np.pi * 11_025 * np.arange(44_100) / 44_100 + 0.1))
    samples[44_100 : 2 * 44_100] = tone
    signal, _ = waveform(encode(_stereo(samples, -samples), 44_100, "WAV:FLOAT"))
    assert signal.notes == "; ".join(
        [levels.TRIMMED, levels.CANCELLED, levels.CLIPPED, levels.NOTHING_BELOW_8_KHZ]
    )


def test_levels_are_the_same_however_a_recording_is_cut_into_blocks():
    samples = CANCELLING["with noise of its own"].astype(np.float32)
    for size in (len(samples), 1_000, 7):
        downmix, channels = levels.Downmix(), levels.ChannelLevels()
        energy = 0.0
        for start in range(0, len(samples), size):
            block = samples[start : start + size]
            energy += float(np.square(downmix(block)).sum())
            channels(block)
        assert downmix.may_cancel(energy)
        assert channels.loudest_if_cancelled() == 0


def test_a_file_that_cannot_be_read_is_no_silence(monkeypatch):
    """Whatever looks at the channels once more meets the same errors."""
    buffer = io.BytesIO()
    soundfile.write(buffer, _stereo(LEFT, -LEFT), RATE, format="WAV")
    opened = audio.decode_blocks
    n_opened = []

    def failing(source, *mix):
        n_opened.append(1)
        if len(n_opened) == 2:
            raise OSError("the store is gone")
        return opened(source, *mix)

    monkeypatch.setattr(audio, "decode_blocks", failing)
    with pytest.raises(OSError, match="the store is gone"):
        load(buffer.getvalue())
