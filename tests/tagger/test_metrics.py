"""MAP@3 and the other scores (paper section 3.5)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagger import metrics


def _plain_average_precision(actual, predicted, k):
    """From the definition: precision at each place that holds a new right answer, summed and
    divided by the number of right answers that could have been placed."""
    total, right, seen = 0.0, 0, set()
    for place, answer in enumerate(predicted[:k], start=1):
        if answer in actual and answer not in seen:
            right += 1
            total += right / place
        seen.add(answer)
    return total / min(len(actual), k) if actual else 0.0


rankings = hnp.arrays(
    np.int64, st.tuples(st.integers(1, 20), st.integers(1, 6)), elements=st.integers(-1, 7)
)


@given(rankings, st.integers(1, 5), st.data())
def test_average_precision_equals_the_plain_version(ranking, k, data):
    truth = data.draw(hnp.arrays(np.int64, len(ranking), elements=st.integers(0, 7)))
    expected = [
        _plain_average_precision([actual], list(row), k)
        for actual, row in zip(truth, ranking, strict=True)
    ]
    np.testing.assert_allclose(metrics.average_precision(ranking, truth, k), expected)
    assert metrics.map_at(ranking, truth, k) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([4, 1, 2], 1),
        ([1, 4, 2], 1 / 2),
        ([1, 2, 4], 1 / 3),
        ([1, 2, 3, 4], 0),
        ([4, 4, 4], 1),  # a repeated answer does not count twice
        ([1, 1, 4], 1 / 3),  # but it takes up a place
        ([-1, -1, -1], 0),  # no answer, as for an empty file
    ],
)
def test_scores_by_place(row, expected):
    assert metrics.average_precision(np.array([row]), np.array([4])) == pytest.approx(expected)


def test_ties_go_to_the_lower_class_index():
    scores = np.array([[0.2, 0.4, 0.4, 0.4, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0]], np.float32)
    assert metrics.rank(scores).tolist() == [[1, 2, 3], [0, 1, 2]]


@given(hnp.arrays(np.float32, (5, 6), elements=st.floats(0, 1, width=32)))
def test_ranking_is_sorted_and_without_repeats(scores):
    ranking = metrics.rank(scores, 4)
    best = np.take_along_axis(scores, ranking, axis=1)
    assert (np.diff(best, axis=1) <= 0).all()
    assert all(len(set(row)) == 4 for row in ranking.tolist())


def test_fewer_classes_than_places():
    assert metrics.rank(np.array([[0.3, 0.7]])).tolist() == [[1, 0]]


def test_no_clips_have_no_score():
    with pytest.raises(ValueError, match="no clips"):
        metrics.map_at(np.zeros((0, 3), np.int64), np.zeros(0, np.int64))


def test_confusion_and_the_table_per_class():
    truth = np.array([0, 0, 1, 1, 1])
    ranking = np.array([[0, 1, 2], [2, 0, 1], [1, 0, 2], [0, 2, 1], [-1, -1, -1]])
    assert metrics.accuracy(ranking, truth) == pytest.approx(2 / 5)
    assert metrics.confusion(ranking, truth, 3).tolist() == [[1, 0, 1], [1, 1, 0], [0, 0, 0]]
    table = metrics.per_class(ranking, truth, ["a", "b", "c"]).set_index("label")
    assert table["n_clips"].tolist() == [2, 3, 0]
    np.testing.assert_allclose(table["map_at_3"], [0.75, (1 + 1 / 3) / 3, np.nan])
    np.testing.assert_allclose(table["recall"], [0.5, 1 / 3, np.nan])
    np.testing.assert_allclose(table["precision"], [0.5, 1, 0])


@given(rankings, st.data())
def test_the_confusion_counts_every_answer(ranking, data):
    truth = data.draw(hnp.arrays(np.int64, len(ranking), elements=st.integers(0, 7)))
    counts = metrics.confusion(ranking, truth, 8)
    assert counts.sum() == (ranking[:, 0] >= 0).sum()
    assert counts.trace() / len(truth) == pytest.approx(metrics.accuracy(ranking, truth))
