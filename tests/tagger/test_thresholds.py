"""Thresholds against all thresholds that there are, tried one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score

from tagger import thresholds

SCORES = st.sampled_from([np.float32(i / 16) for i in range(17)])


@st.composite
def scored(draw, most_clips=40):
    """Scores, many of them equal, and truth of one label."""
    n = draw(st.integers(1, most_clips))
    return draw(hnp.arrays(np.float32, n, elements=SCORES)), draw(hnp.arrays(np.bool_, n))


def precision_of(tags, truth):
    return (tags & truth).sum() / tags.sum()


@given(scored())
def test_no_threshold_has_a_better_f1(pair):
    scores, truth = pair
    found = thresholds.best_f1(scores, truth)
    if not truth.any():
        assert found is None
        return
    every = [f1_score(truth, scores >= score, zero_division=0) for score in np.unique(scores)]
    assert f1_score(truth, scores >= found) == pytest.approx(max(every))


@given(scored(), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
def test_the_lowest_threshold_with_a_precision(pair, precision):
    scores, truth = pair
    found = thresholds.lowest(scores, truth, precision)
    enough = [
        score
        for score in np.unique(scores)
        if (scores >= score).sum() >= thresholds.LEAST_CLIPS
        and precision_of(scores >= score, truth) >= precision
    ]
    if found is None:
        assert not enough
    else:
        np.testing.assert_array_equal(scores >= found, scores >= enough[0])


def test_a_threshold_lies_halfway_between_scores():
    scores = np.array([0.9, 0.7, 0.3, 0.1])
    assert thresholds.best_f1(scores, np.array([True, True, False, False])) == pytest.approx(0.5)
    assert thresholds.best_f1(scores, np.array([True] * 4)) == pytest.approx(0.05)


def test_labels_with_few_clips_share_a_threshold_or_reach_no_precision():
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 3), bool)
    truth[:20, 0] = truth[20:24, 1] = True  # the last label has no clip
    scores = np.clip(truth * 0.4 + rng.random((60, 3)) * 0.6, 0, 1)
    own, few, none = thresholds.for_f1(scores, truth)
    assert own == thresholds.best_f1(scores[:, 0], truth[:, 0])
    assert few == none == thresholds.best_f1(scores.ravel(), truth.ravel())
    own, few, none = thresholds.for_precision(scores, truth, 0.8)
    assert precision_of(scores[:, 0] >= own, truth[:, 0]) >= 0.8
    assert few is none is None


def test_where_no_clip_has_a_label_no_score_is_enough():
    assert thresholds.for_f1(np.ones((6, 2)), np.zeros((6, 2), bool)) == (None, None)
