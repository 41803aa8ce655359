"""The front end against torchvggish, and against golden values of TensorFlow's code.

The golden values were computed once with ``mel_features.py`` and ``vggish_input.py`` of
tensorflow/models (research/audioset/vggish).
"""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import logmel

TIME_S = np.arange(0, 3, 1 / 16000)


def recording(seed: int, n: int) -> np.ndarray:
    """What a recording may hold, (n,) float32, peak 1: tones, noise, a click, silence."""
    rng = np.random.default_rng(seed)
    t = np.arange(n) / 16000
    rise = np.clip(np.sin(2 * np.pi * rng.uniform(0.1, 2) * t), 0, None)
    pitch = rng.uniform(60, 7000) * (1 + 0.1 * np.sin(2 * np.pi * rng.uniform(0.2, 6) * t))
    tone = sum(np.sin(k * np.cumsum(2 * np.pi * pitch / 16000)) / k for k in (1, 2, 3))
    signal = rise * tone + 10 ** rng.uniform(-4, 0) * rng.standard_normal(n)
    signal[rng.integers(n)] += rng.uniform(0, 20)
    signal[: rng.integers(n // 2 + 1)] *= rng.integers(2)
    return (signal / np.abs(signal).max()).astype(np.float32)


def torchvggish_patches(waveform):
    from torchvggish.vggish_input import waveform_to_examples

    return waveform_to_examples(waveform.astype(np.float64), 16000, return_tensor=False)


@given(st.integers(0, 2**32 - 1), st.integers(logmel.PATCH_LENGTH, 6 * logmel.PATCH_HOP))
@settings(max_examples=30, deadline=None)
def test_patches_equal_those_of_torchvggish(seed, n):
    waveform = recording(seed, n)
    ours = logmel.patches(waveform)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, torchvggish_patches(waveform), rtol=0, atol=1e-5)


@pytest.mark.parametrize("hz", [0, 30, 125, 1000, 3999.5, 7900])
def test_a_loud_tone_does_not_blur_the_quiet_bands(hz):
    """What single precision does to a pure tone exceeds 1e-4."""
    tone = np.cos(2 * np.pi * hz * TIME_S).astype(np.float32)
    np.testing.assert_allclose(logmel.patches(tone), torchvggish_patches(tone), rtol=0, atol=1e-5)


def test_golden_values_of_a_1_khz_tone():
    patches = logmel.patches(np.sin(2 * np.pi * 1000 * TIME_S).astype(np.float32))
    assert patches.shape == (3, 96, 64)
    assert patches.mean() == pytest.approx(-3.429619, abs=2e-5)
    assert patches.std() == pytest.approx(2.126577, abs=2e-5)
    assert patches.min() == pytest.approx(-4.601163, abs=1e-4)
    assert patches.max() == pytest.approx(4.811117725, abs=1e-4)
    assert patches[0, 0].argmax() == 19
    assert patches[0, 0, 20] == pytest.approx(4.7750444, abs=1e-4)
    first = [-4.48313252, -4.27083405, -4.17064267, -4.23770552]
    first += [-4.47501975, -4.14559007, -3.94365237, -4.03889331]
    np.testing.assert_allclose(patches[0, 0, :8], first, atol=1e-4)


def test_golden_value_of_silence():
    silence = logmel.patches(np.zeros(16000, np.float32))
    np.testing.assert_allclose(silence, -4.605170186, atol=1e-6)


def test_golden_values_of_noise():
    noise = np.random.RandomState(0).uniform(-1, 1, 48000).astype(np.float32)
    patches = logmel.patches(noise)
    assert patches.mean() == pytest.approx(2.838894, abs=1e-5)
    assert patches.std() == pytest.approx(0.801535, abs=1e-5)
    first = [1.65204008, 1.45112914, 1.75828452, 2.0633311]
    np.testing.assert_allclose(patches[0, 0, :4], first, atol=1e-5)


def test_the_mel_matrix_is_the_reference():
    matrix = logmel.mel_matrix()
    assert matrix.shape == (257, 64)
    assert matrix.sum() == pytest.approx(230.9136, abs=1e-4)
    assert np.count_nonzero(matrix) == 461
    assert matrix.max() == pytest.approx(0.996191, abs=1e-6)
    assert not matrix[0].any()


@pytest.mark.parametrize(
    ("n_samples", "expected"),
    [(0, 0), (399, 0), (15_360, 0), (15_599, 0), (15_600, 1), (30_959, 1), (30_960, 2)],
)
def test_number_of_patches(n_samples, expected):
    assert logmel.n_patches(n_samples) == expected
    frames = logmel.log_mel(np.zeros(n_samples, np.float32))
    assert len(frames) // logmel.PATCH_FRAMES == expected
    assert len(frames) == max(0, 1 + (n_samples - 400) // 160)


@given(st.integers(0, 99), st.integers(1, 5 * logmel.PATCH_HOP), st.data())
@settings(max_examples=40, deadline=None)
def test_streaming_equals_the_whole(seed, n, data):
    waveform = recording(seed, n)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=8)))
    blocks = [waveform[start:end] for start, end in pairwise([0, *cuts, n])]
    parts = list(logmel.stream_patches(blocks))
    np.testing.assert_allclose(np.concatenate(parts), logmel.patches(waveform), atol=1e-6)
    assert all(len(part) for part in parts)


@pytest.mark.parametrize("block", [1, 159, 400, 15_360, 15_601])
def test_blocks_of_one_size_equal_the_whole(block):
    waveform = recording(1, 33_000)
    blocks = (waveform[start : start + block] for start in range(0, len(waveform), block))
    streamed = np.concatenate(list(logmel.stream_patches(blocks)))
    np.testing.assert_allclose(streamed, logmel.patches(waveform), atol=1e-6)


@pytest.mark.parametrize("n", [1, 160, 399, 400, 8000, 15_599])
def test_a_short_waveform_is_repeated_until_it_has_a_patch(n):
    waveform = recording(2, max(n, 2))[:n]
    repeated = np.tile(waveform, -(-logmel.PATCH_LENGTH // n))[: logmel.PATCH_LENGTH]
    np.testing.assert_array_equal(logmel.patches(waveform), logmel.patches(repeated))
    assert logmel.patches(waveform).shape == (1, 96, 64)


@pytest.mark.parametrize("blocks", [[], [np.empty(0, np.float32)]])
def test_a_waveform_without_samples_has_no_patches(blocks):
    with pytest.raises(ValueError, match="without samples"):
        list(logmel.stream_patches(blocks))
