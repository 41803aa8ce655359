"""Stretches of recordings are what cutting the samples by hand gives."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import audio
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason
from tagger.excerpt import Stretch, decode_stretch, excerpt
from tagger.recording import Decoded, mono

RATE = 1000


def recording(n: int, block: int = 700) -> Decoded:
    """Samples 0, 1, 2 …, in blocks."""
    samples = np.arange(n, dtype=np.float32)
    return Decoded(RATE, 1, (samples[i : i + block] for i in range(0, n, block)))


def samples(decoded: Decoded) -> list[float]:
    return np.concatenate([np.empty(0), *decoded.blocks]).tolist()


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 5000), st.integers(1, 999))
@settings(deadline=None)
def test_the_samples_from_start_to_end(n, first, length, block):
    stretch = Stretch(first / RATE, (first + length) / RATE)
    cut = excerpt(recording(n, block), stretch)
    if first < n:
        assert samples(cut) == list(range(first, min(n, first + length)))
    else:
        with pytest.raises(ClipError, match=r"recording ends at .* and its clip begins") as error:
            samples(cut)
        assert error.value.reason == Reason.EMPTY


def test_without_an_end_it_is_the_rest():
    assert samples(excerpt(recording(3000), Stretch(2.5))) == list(range(2500, 3000))


@given(st.integers(1, 5000), st.integers(0, 3000), st.integers(600, 2000))
@settings(deadline=None)
def test_a_file_of_a_segment_alone_is_taken_whole_and_a_longer_one_cut(n, first, length):
    """As AudioSet's segments are kept, either way; half a second more is no longer recording."""
    stretch = Stretch(first / RATE, (first + length) / RATE, may_be_cut=True)
    cut = excerpt(recording(n), stretch)
    if n <= length + 500:
        assert samples(cut) == list(range(n))
    elif first < n:
        assert samples(cut) == list(range(first, min(n, first + length)))


@pytest.mark.parametrize("may_be_cut", [False, True])
def test_what_is_damaged_is_used_up_to_there(may_be_cut):
    def broken():
        yield np.arange(1500, dtype=np.float32)
        raise ClipError(Reason.DECODE_ERROR, "cut off")

    stretch = Stretch(1.0, 3.0, may_be_cut)
    blocks = excerpt(Decoded(RATE, 1, broken()), stretch).blocks
    assert len(next(blocks)) == (1500 if may_be_cut else 500)
    with pytest.raises(ClipError, match="cut off"):
        next(blocks)


def test_a_stretch_of_a_file_is_trimmed_and_normalised_as_a_file_of_its_own(encode):
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.3, 0.3, 80_000).astype(np.float32)
    sound[30_000:40_000] = 0
    sound[60_000] = 1  # outside
    whole, alone = encode(sound, 16_000), encode(sound[32_000:56_000], 16_000)
    _, cut = audio.original(whole, stretch=Stretch(2.0, 3.5))
    np.testing.assert_array_equal(cut, audio.original(alone)[1])
    rest = decode_blocks(whole)
    assert sum(map(len, excerpt(rest, Stretch(4.5)).blocks)) == 8000


@pytest.fixture(scope="module")
def long_sound():
    """Three minutes of two channels, (n, 2), at 8 kHz."""
    return np.random.default_rng(3).uniform(-0.5, 0.5, (180 * 8000, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "AIFF", "WAV:ULAW", "OGG:VORBIS", "ipod/aac"])
@pytest.mark.parametrize("end_s", [121.5, None])
def test_what_is_sought_is_what_decoding_from_the_start_gives(encode, long_sound, kind, end_s):
    data = encode(long_sound, 8000, kind)
    stretch = Stretch(120.25, end_s)
    found = decode_stretch(data, mono, None, stretch)
    expected = excerpt(decode_blocks(data), stretch)
    assert (found.sample_rate_hz, found.channels) == (8000, 2)
    np.testing.assert_array_equal(np.concatenate([*found.blocks]), samples(expected))


def test_a_stretch_behind_the_end_and_a_file_that_is_cut_off(encode, long_sound):
    data = encode(long_sound, 8000)
    with pytest.raises(ClipError, match=r"recording ends at 180.000 s, and its clip begins at"):
        samples(decode_stretch(data, mono, None, Stretch(200.0)))
    cut_off = decode_stretch(data[: len(data) // 2], mono, None, Stretch(60.0, 120.0))
    blocks = []
    with pytest.raises(ClipError, match=r"decoding stopped at 89\.999 s"):
        blocks.extend(cut_off.blocks)
    flac = encode(long_sound, 8000, "FLAC")
    broken = flac[: len(flac) // 2] + b"\0" * 50_000 + flac[len(flac) // 2 + 50_000 :]
    found = decode_stretch(broken, mono, None, Stretch(100.0, 101.0))
    np.testing.assert_array_equal(
        np.concatenate([*found.blocks]), mono(soundfile_of(flac)[800_000:808_000])
    )


def soundfile_of(data: bytes) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    return samples


def test_what_lies_beside_a_stretch_does_not_decide_how_its_channels_are_mixed(encode):
    """Channels that cancel each other before the stretch, and are alike in it."""
    sound = np.random.default_rng(4).uniform(-0.5, 0.5, 160_000).astype(np.float32)
    sign = np.where(np.arange(160_000) < 96_000, -1, 1).astype(np.float32)
    data = encode(np.column_stack([sound, sign * sound]), 16_000)
    alone = encode(sound[96_000:], 16_000)
    _, cut = audio.original(data, stretch=Stretch(6.0))
    np.testing.assert_array_equal(cut, audio.original(alone)[1])
