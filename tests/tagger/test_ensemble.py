"""Means over bags and members against plain versions (paper sections 4.1 and 4.2)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagger import ensemble


def shares(*shape: int):
    """Float32 probabilities that sum to 1 over the last axis."""
    rows = hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
    return rows.map(lambda x: (x + np.float32(1e-6)) / (x + np.float32(1e-6)).sum(-1)[..., None])


@given(st.integers(1, 5).flatmap(lambda n: shares(n, 4)))
@settings(deadline=None)
def test_the_score_of_a_clip_is_the_mean_over_its_bags(predictions):
    n, n_classes = predictions.shape
    expected = [sum(float(predictions[i, k]) for i in range(n)) / n for k in range(n_classes)]
    result = ensemble.clip_mean(predictions)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def plain_geometric_mean(members: np.ndarray) -> list[float]:
    """n-th root of the product of (p + 1e-8), over the classes made to sum to 1."""
    n, n_classes = members.shape
    roots = [
        math.prod(float(members[i, k]) + 1e-8 for i in range(n)) ** (1 / n)
        for k in range(n_classes)
    ]
    return [root / sum(roots) for root in roots]


@given(st.integers(1, 5).flatmap(lambda n: shares(n, 4)))
@settings(deadline=None)
def test_geometric_mean_over_members(members):
    result = ensemble.geometric_mean(members)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, plain_geometric_mean(members), rtol=1e-5, atol=1e-9)
    assert result.sum() == pytest.approx(1, abs=1e-6)


@given(shares(3, 5, 4))
@settings(deadline=None)
def test_geometric_mean_of_many_bags_is_that_of_each(members):
    result = ensemble.geometric_mean(members)
    each = [plain_geometric_mean(members[:, bag]) for bag in range(5)]
    np.testing.assert_allclose(result, each, rtol=1e-5, atol=1e-9)


@given(hnp.arrays(np.float32, (3, 5, 4), elements=st.floats(0, 1, width=32)))
@settings(deadline=None)
def test_where_clips_have_several_labels_members_are_averaged_and_nothing_else(members):
    result = ensemble.combined(members, "several")
    assert result.dtype == np.float32
    expected = [
        [sum(float(members[i, bag, k]) for i in range(3)) / 3 for k in range(4)] for bag in range(5)
    ]
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-9)


def test_where_clips_have_one_label_members_are_combined_as_the_paper_does():
    members = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], np.float32)
    assert (ensemble.combined(members, "one") == ensemble.geometric_mean(members)).all()


def test_one_member_s_zero_is_no_veto():
    members = np.array([[0.0, 1.0], [0.9, 0.1]], np.float32)
    result = ensemble.geometric_mean(members)
    assert 0 < result[0] < result[1]


def test_one_member_alone_decides():
    scores = np.array([[0.7, 0.2, 0.1]], np.float32)
    np.testing.assert_allclose(ensemble.geometric_mean(scores), scores[0], atol=1e-6)


def test_top_k_ranks_equal_scores_in_class_order():
    scores = np.array([0.2, 0.3, 0.2, 0.3], np.float32)
    assert ensemble.top_k(scores, 3).tolist() == [1, 3, 0]
    assert ensemble.top_k(scores, 9).tolist() == [1, 3, 0, 2]
    assert ensemble.top_k(scores, 3, threshold=0.25).tolist() == [1, 3]
    assert ensemble.top_k(scores, 3, threshold=0.5).tolist() == []
    assert ensemble.top_k(scores, 2, np.array([0.2, 0.4, 0.2, 0.3])).tolist() == [3, 0]


@pytest.mark.parametrize("labelling", ["one", "several"])
def test_the_temperature_acts_on_what_members_agree_on(labelling):
    members = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]], np.float32)
    found = ensemble.combined(members, labelling, 2.5)
    expected = ensemble.at_temperature(ensemble.combined(members, labelling), 2.5, labelling)
    np.testing.assert_array_equal(found, expected)
    as_it_was = ensemble.combined(members, labelling)
    np.testing.assert_array_equal(ensemble.combined(members, labelling, 1.0), as_it_was)
