"""Thresholds against all thresholds that there are, tried one by one."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, precision_score

from tagger import thresholds

SCORES = st.sampled_from([np.float32(i / 16) for i in range(17)])


@st.composite
def scored(draw):
    """Scores, many of them equal, and truth of a few labels."""
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 3)))
    truth = draw(hnp.arrays(np.bool_, shape))
    return draw(hnp.arrays(np.float32, shape, elements=SCORES)), truth


def between(scores):
    """Halfway between scores that follow each other, and below the lowest."""
    steps = [0.0, *sorted({float(score) for score in scores})]
    return [(low + high) / 2 for low, high in pairwise(steps)] if steps[1:] else []


def with_all(scores, truth, label):
    """A label's decisions and those of all labels, with the weight that each has."""
    share = thresholds.SMOOTHING / truth.sum()
    return (
        np.concatenate([scores[:, label], scores.ravel()]),
        np.concatenate([truth[:, label], truth.ravel()]),
        np.concatenate([np.ones(len(scores)), np.full(scores.size, share)]),
    )


@given(scored())
@settings(deadline=None)
def test_no_threshold_has_a_better_f1(pair):
    scores, truth = pair
    found = thresholds.for_f1(scores, truth)
    if not truth.any():
        assert found == (None,) * truth.shape[1]
        return
    for label, threshold in enumerate(found):
        values, right, weights = with_all(scores, truth, label)
        every = [
            f1_score(right, values >= least, sample_weight=weights)
            for least in between(scores[:, label])
        ]
        own = f1_score(right, values >= threshold, sample_weight=weights)
        assert own == pytest.approx(max(every))


@given(scored(), st.sampled_from([0.3, 0.5, 0.9, 1.0]))
@settings(deadline=None)
def test_the_lowest_threshold_with_a_precision(pair, precision):
    scores, truth = pair
    found = thresholds.for_precision(scores, truth, precision)
    for label, threshold in enumerate(found):
        enough = []
        for least in between(scores[:, label]) if truth.any() else []:
            values, right, weights = with_all(scores, truth, label)
            tags = scores[:, label] >= least
            smoothed = precision_score(right, values >= least, sample_weight=weights)
            if tags.any() and truth[tags, label].mean() >= precision <= smoothed + 1e-9:
                enough.append(least)
        if threshold is None:
            assert not enough
        else:
            assert threshold == pytest.approx(enough[0])
            tags = scores[:, label] >= threshold
            assert truth[tags, label].mean() >= precision


def test_a_threshold_lies_halfway_between_scores():
    scores = np.array([[0.9], [0.7], [0.3], [0.1]])
    some, every = np.array([[True], [True], [False], [False]]), np.ones((4, 1), bool)
    assert thresholds.for_f1(scores, some) == (pytest.approx(0.5),)
    assert thresholds.for_f1(scores, every) == (pytest.approx(0.05),)
    assert thresholds.for_precision(scores, some, 1.0) == (pytest.approx(0.5),)


def test_a_label_with_many_clips_goes_its_own_way_and_one_with_few_that_of_all():
    """Label 0 has high scores, right and wrong ones, label 1 low ones; 2 and 3 have 2 clips."""
    rng = np.random.default_rng(0)
    truth = np.zeros((3000, 4), bool)
    truth[:1000, 0] = truth[1000:2000, 1] = truth[:2, 2:] = True
    scores = rng.normal([0.5, 0.1, 0.1, 0.5], 0.04, truth.shape)
    scores = np.clip(np.where(truth, scores + 0.2, scores), 0, 1)
    high, low, few, as_few = thresholds.for_f1(scores, truth)
    assert low == pytest.approx(0.2, abs=0.03)
    assert high == pytest.approx(0.6, abs=0.03)
    assert as_few == pytest.approx(high, abs=0.05)
    assert low < few < 0.3  # none of its scores is higher
