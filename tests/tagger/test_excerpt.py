"""Stretches of recordings are what cutting the samples by hand gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import audio
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason
from tagger.excerpt import Stretch, excerpt
from tagger.recording import Decoded

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
