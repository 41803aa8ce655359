"""Times of segments, and bags of them (paper sections 3.2 and 3.4)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger import logmel, segments


@given(st.floats(0, 100), st.integers(logmel.PATCH_LENGTH, 20 * logmel.PATCH_HOP))
def test_whole_segments_are_0_96_s_and_stay_within_the_content(start_s, n_samples):
    end_s = start_s + n_samples / logmel.SAMPLE_RATE_HZ
    n_segments = logmel.n_patches(n_samples)
    starts, ends = segments.segment_times(n_segments, start_s, end_s)
    np.testing.assert_allclose(starts, [start_s + 0.96 * k for k in range(n_segments)])
    np.testing.assert_allclose(ends - starts, 0.96)
    assert starts.dtype == ends.dtype == np.float64
    assert ends[-1] <= end_s


def test_a_clip_too_short_for_a_patch_ends_where_its_content_ends():
    starts, ends = segments.segment_times(1, 2.0, 2.3)
    assert starts.tolist() == [2.0]
    assert ends.tolist() == [2.3]


def _plain_bags(n_segments, bag_size):
    """Section 3.4 and the tail bag, one bag at a time."""
    result = []
    for first in range(0, n_segments, bag_size):
        members = list(range(first, min(first + bag_size, n_segments)))
        result.append([members[i % len(members)] for i in range(bag_size)])
    return result


@given(st.integers(1, 60), st.integers(1, 12))
def test_bags_equal_the_plain_version(n_segments, bag_size):
    result = segments.bags(n_segments, bag_size)
    assert result.dtype == np.int64
    assert result.tolist() == _plain_bags(n_segments, bag_size)
    assert set(result.ravel()) == set(range(n_segments))


def test_the_tail_repeats_its_own_segments():
    assert segments.bags(8, 6).tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 6, 7, 6, 7]]
    assert segments.bags(1, 6).tolist() == [[0] * 6]
    assert segments.bags(3, 1).tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("arguments", [(0, 6), (6, 0)])
def test_a_clip_without_segments_has_no_bags(arguments):
    with pytest.raises(ValueError, match="no bags"):
        segments.bags(*arguments)
