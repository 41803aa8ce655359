"""Stretches in which a tag was heard, against a slow plain way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagger.events import heard_s, stretches

BAG_S = 2.0


def bag_times(n):
    start_s = BAG_S * np.arange(n)
    return start_s, start_s + BAG_S


def one_by_one(bag_scores, start_s, end_s, threshold, gap_s):
    """Each label, each bag in turn."""
    for label in range(bag_scores.shape[1]):
        found = []
        for bag, score in enumerate(bag_scores[:, label]):
            if score < threshold:
                continue
            if found and start_s[bag] - end_s[found[-1][-1]] <= gap_s:
                found[-1].append(bag)
            else:
                found.append([bag])
        for bags in found:
            scores = bag_scores[bags[0] : bags[-1] + 1, label]
            peak, mean = pytest.approx(max(scores)), pytest.approx(np.mean(scores))
            yield label, bags[0], bags[-1], peak, mean


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 12), st.integers(1, 4)),
        elements=st.floats(0, 1, width=32),
    ),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0, BAG_S, 3 * BAG_S, 1000.0]),
)
def test_stretches_are_those_of_the_slow_way(bag_scores, threshold, gap_s):
    times = bag_times(len(bag_scores))
    found = list(stretches(bag_scores, *times, threshold, gap_s))
    assert found == list(one_by_one(bag_scores, *times, threshold, gap_s))


def test_a_gap_is_bridged_up_to_its_limit():
    scores = np.array([[0.9], [0.1], [0.9]], np.float32)
    joined = [(s.first, s.last) for s in stretches(scores, *bag_times(3), 0.5, BAG_S)]
    parted = [(s.first, s.last) for s in stretches(scores, *bag_times(3), 0.5, BAG_S - 0.1)]
    assert (joined, parted) == ([(0, 2)], [(0, 0), (2, 2)])


def test_a_tag_is_heard_as_long_as_its_bags_are():
    scores = np.array([[0.9, 0.5], [0.1, 0.6], [0.5, 0.4]], np.float32)
    start_s, end_s = bag_times(3)
    end_s[-1] -= 1.5  # the last bag is short
    assert heard_s(scores, start_s, end_s, 0.5).tolist() == [2.5, 4.0]
