"""Where a recording is not silent, against librosa."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger.trimming import Envelope


def _noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n).astype(np.float32)


def _bounds(samples: np.ndarray, cuts: list[int]) -> tuple[int, int]:
    envelope = Envelope()
    for block in np.split(samples, sorted(cuts)):
        if len(block):
            envelope.add(block, float(np.abs(block).max()))
    return envelope.bounds()


@st.composite
def _signals(draw: st.DrawFn) -> np.ndarray:
    """Noise whose level changes in steps, from below hearing to full scale, some of it zero."""
    parts = draw(
        st.lists(
            st.tuples(st.integers(1, 3_000), st.floats(-110, 0) | st.just(-np.inf)),
            min_size=1,
            max_size=8,
        )
    )
    levels = np.repeat([10.0 ** (db / 20) for _, db in parts], [n for n, _ in parts])
    return (_noise(len(levels), draw(st.integers(0, 99))) * levels).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(_signals(), st.lists(st.integers(0, 10_000), max_size=6))
def test_bounds_are_librosas_whatever_the_blocks(samples, cuts):
    if samples.any():
        cuts = [min(cut, len(samples)) for cut in cuts]
        assert _bounds(samples, cuts) == tuple(librosa.effects.trim(samples, top_db=60)[1])


def test_bounds_survive_amplitudes_whose_squares_overflow():
    samples = np.zeros(20_000, np.float32)
    samples[8_000:9_000] = 3e38
    assert _bounds(samples, []) == tuple(librosa.effects.trim(samples / 3e38, top_db=60)[1])


@pytest.mark.parametrize("n", [1, 511, 512, 5_000])
def test_zeros_are_kept_whole_as_by_librosa(n):
    zeros = np.zeros(n, np.float32)
    assert _bounds(zeros, []) == (0, n) == tuple(librosa.effects.trim(zeros, top_db=60)[1])
