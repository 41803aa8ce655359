"""Masking, SpecAugment without time warping (Park et al. 2019)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagger import masking


@given(st.integers(1, 9), st.integers(0, 12), st.integers(0, 1000))
def test_a_mask_is_one_stretch_of_at_most_the_length(n, longest, seed):
    mask = masking.draw(n, 12, longest, np.random.default_rng(seed))
    assert mask.shape == (n, 12)
    for row in mask:
        places = np.flatnonzero(row)
        assert len(places) <= longest
        assert len(places) == 0 or places.tolist() == list(range(places[0], places[-1] + 1))


def test_lengths_and_places_are_uniform():
    mask = masking.draw(60_000, 10, 4, np.random.default_rng(0))
    lengths = mask.sum(1)
    np.testing.assert_allclose(np.bincount(lengths) / len(mask), 0.2, atol=0.01)
    starts = mask[lengths == 3].argmax(1)
    np.testing.assert_allclose(np.bincount(starts) / len(starts), 1 / 8, atol=0.01)


def test_what_is_masked_is_the_patch_s_mean_and_the_rest_as_it_was():
    rng = np.random.default_rng(1)
    patches = rng.normal(-2, 1, (5, 9, 7)).astype(np.float32)
    frames, bands = masking.draw(5, 9, 6, rng), masking.draw(5, 7, 4, rng)
    masked = masking.apply(*map(torch.from_numpy, (patches, frames, bands))).numpy()
    assert frames.any()
    assert bands.any()
    for n, patch in enumerate(patches):
        for frame in range(9):
            for band in range(7):
                hidden = frames[n, frame] or bands[n, band]
                expected = patch.mean() if hidden else patch[frame, band]
                assert masked[n, frame, band] == pytest.approx(expected, rel=1e-5)
