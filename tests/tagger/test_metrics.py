"""MAP@3 and the other scores (paper section 3.5) against a plain version and scikit-learn."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import balanced_accuracy_score

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
    nothing = metrics.rank(np.zeros((0, 4)))
    truth = np.zeros(0, np.int64)
    assert nothing.shape == (0, 3)
    assert metrics.average_precision(nothing, truth).shape == (0,)
    assert metrics.confusion(nothing, truth, 2).tolist() == [[0, 0], [0, 0]]
    table = metrics.per_class(nothing, truth, ["a", "b"])
    assert table["n_clips"].tolist() == [0, 0]
    assert table[["map_at_3", "recall", "precision"]].isna().all(axis=None)
    for metric in (metrics.map_at, metrics.accuracy):
        with pytest.raises(ValueError, match="no clips"):
            metric(nothing, truth)


@pytest.mark.parametrize(
    ("scores", "places", "complaint"),
    [
        (np.zeros(3), 3, r"scores cannot have shape \(3,\)"),
        (np.zeros((3, 0)), 3, r"scores cannot have shape \(3, 0\)"),
        (np.array([[0.1, np.nan]]), 3, "NaN"),
        (np.zeros((1, 3)), 0, "0 places"),
    ],
)
def test_scores_that_cannot_be_ranked(scores, places, complaint):
    with pytest.raises(ValueError, match=complaint):
        metrics.rank(scores, places)


@pytest.mark.parametrize(
    ("ranking", "truth", "complaint"),
    [
        (np.array([0, 1]), np.array([0, 1]), r"ranking cannot have shape \(2,\)"),
        (np.zeros((2, 0), int), np.array([0, 1]), r"ranking cannot have shape \(2, 0\)"),
        (np.array([[0.0]]), np.array([0]), "ranking cannot have .* float64"),
        (np.array([[0], [1]]), np.array([0]), r"truth of 2 clips cannot have shape \(1,\)"),
        (np.array([[0]]), np.array([[0]]), r"truth of 1 clips cannot have shape \(1, 1\)"),
        (np.array([[0]]), np.array([0.0]), "truth cannot have .* float64"),
        (np.array([[-2]]), np.array([0]), "ranking holds -2"),
        (np.array([[-1]]), np.array([-1]), "truth holds -1"),  # not a hit: nobody knows
    ],
)
def test_what_is_no_ranking_and_no_truth(ranking, truth, complaint):
    per_class = partial(metrics.per_class, names=["a", "b"])
    confusion = partial(metrics.confusion, n_classes=2)
    for metric in (metrics.average_precision, metrics.accuracy, confusion, per_class):
        with pytest.raises(ValueError, match=complaint):
            metric(ranking, truth)


def test_classes_beyond_the_last_are_not_counted_elsewhere():
    for ranking, truth in (([[2]], [0]), ([[0]], [2])):
        with pytest.raises(ValueError, match="holds 2, there are 2 classes"):
            metrics.confusion(np.array(ranking), np.array(truth), 2)


SCORES = np.array(
    [
        [0.5, 0.3, 0.1, 0.1],
        [0.1, 0.2, 0.3, 0.4],
        [0.25, 0.35, 0.3, 0.1],
        [0.2, 0.1, 0.6, 0.1],
        [0.4, 0.1, 0.2, 0.3],
        [0.1, 0.15, 0.25, 0.5],
        [0.3, 0.45, 0.15, 0.1],
        [0.05, 0.15, 0.1, 0.7],
    ]
)
TRUTH = np.array([0, 2, 0, 2, 1, 3, 1, 0])


def test_figures_equal_those_of_scikit_learn():
    """What scikit-learn 1.9.1 says of ``SCORES``, ``TRUTH`` and the classes with most scores."""
    ranking = metrics.rank(SCORES)
    # accuracy_score
    assert metrics.accuracy(ranking, TRUTH) == 0.5
    # confusion_matrix
    counts = [[1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    assert metrics.confusion(ranking, TRUTH, 4).tolist() == counts
    table = metrics.per_class(ranking, TRUTH, list("abcd"))
    # recall_score and precision_score, average=None
    np.testing.assert_allclose(table["recall"], [1 / 3, 1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(table["precision"], [1 / 2, 1 / 2, 1, 1 / 3])
    # label_ranking_average_precision_score of each clip: the reciprocal rank of its class
    reciprocal = [1, 1 / 2, 1 / 3, 1, 1 / 4, 1, 1, 1 / 4]
    found = metrics.average_precision(metrics.rank(SCORES, 4), TRUTH, 4)
    np.testing.assert_allclose(found, reciprocal)
    assert metrics.map_at(metrics.rank(SCORES, 4), TRUTH, 4) == pytest.approx(2 / 3)
    # top_k_accuracy_score for k = 1, 2, 3: the clips that score at all
    for places, share in ((1, 0.5), (2, 0.625), (3, 0.75)):
        assert (metrics.average_precision(ranking, TRUTH, places) > 0).mean() == share


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth, first = rng.integers(0, 6, 40), rng.integers(0, 6, 40)
    truth[truth == 2] = 3  # a class without clips, which is answered all the same
    with warnings.catch_warnings(action="ignore"):
        expected = balanced_accuracy_score(truth, first)
    assert metrics.balanced_accuracy(first[:, None], truth) == pytest.approx(expected)


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
