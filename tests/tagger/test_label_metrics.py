"""mAP, lwlrap, AUC, d' and F1 against scikit-learn, scipy, and lwlrap as it was published."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import norm
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    label_ranking_average_precision_score,
    roc_auc_score,
)

from tagger import label_metrics as metrics


@st.composite
def scored(draw):
    """Scores, many of them equal, and truth of a few clips and labels."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 5)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.3, 0.5, 1])))
    return scores, draw(hnp.arrays(np.bool_, shape))


def published_lwlrap(truth, scores):
    """As the organisers of DCASE 2019 task 2 define it, clip by clip, without its ties."""
    hits, precisions = 0, 0.0
    for row, has in zip(scores, truth, strict=True):
        ranked = has[np.argsort(-row)]
        for place in np.flatnonzero(ranked):
            precisions += ranked[: place + 1].mean()
            hits += 1
    return precisions / hits


@given(scored())
def test_average_precision_is_scikit_learn_s(pair):
    scores, truth = pair
    found = metrics.label_average_precision(scores, truth)
    for own, column, labels in zip(found, scores.T, truth.T, strict=True):
        if labels.any():
            assert own == pytest.approx(average_precision_score(labels, column))
        else:
            assert np.isnan(own)
    if truth.any():
        some = truth.any(0)
        expected = average_precision_score(truth[:, some], scores[:, some], average="macro")
        assert metrics.mean_average_precision(scores, truth) == pytest.approx(expected)


@given(scored())
def test_lwlrap_is_the_label_ranking_weighted_by_labels(pair):
    scores, truth = pair
    if truth.any():
        some = truth.any(1)
        expected = label_ranking_average_precision_score(
            truth[some], scores[some], sample_weight=truth[some].sum(1)
        )
        assert metrics.lwlrap(scores, truth) == pytest.approx(expected)


def test_lwlrap_is_the_published_one():
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(50, 8)), rng.random((50, 8)) < 0.2
    assert metrics.lwlrap(scores, truth) == pytest.approx(published_lwlrap(truth, scores))


@given(scored())
def test_auc_is_scikit_learn_s(pair):
    scores, truth = pair
    found = metrics.label_auc(scores, truth)
    for own, column, labels in zip(found, scores.T, truth.T, strict=True):
        if labels.any() and not labels.all():
            assert own == pytest.approx(roc_auc_score(labels, column))
        else:
            assert np.isnan(own)


@pytest.mark.parametrize("auc", [0.01, 0.5, 0.959])
def test_d_prime_is_the_distance_of_two_normal_distributions(auc):
    apart = metrics.d_prime(auc)
    assert apart == pytest.approx(np.sqrt(2) * norm.ppf(auc), abs=1e-12)
    assert norm.cdf(apart, scale=np.sqrt(2)) == pytest.approx(auc)  # P(x > y), y 0, x apart


def test_d_prime_of_no_overlap_is_infinite():
    assert [metrics.d_prime(auc) for auc in (0.0, 1.0)] == [-np.inf, np.inf]


@given(scored(), st.sampled_from([0.0, 0.3, 0.9]))
def test_f1_is_scikit_learn_s(pair, threshold):
    scores, truth = pair
    given_ = scores >= threshold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that nobody has or gave
        each, macro, micro = (
            f1_score(truth, given_, average=how, zero_division=np.nan)
            if truth.shape[1] > 1
            else np.array([f1_score(truth[:, 0], given_[:, 0], zero_division=np.nan)])
            for how in (None, "macro", "micro")
        )
    np.testing.assert_allclose(metrics.label_f1(given_, truth), np.ravel(each))
    if truth.any() or given_.any():
        assert metrics.micro_f1(given_, truth) == pytest.approx(float(np.squeeze(micro)))
        assert metrics.macro_f1(given_, truth) == pytest.approx(float(np.squeeze(macro)))


def test_a_mean_of_nothing_is_no_score():
    scores, none = np.zeros((3, 2)), np.zeros((3, 2), bool)
    for figure in (metrics.mean_average_precision, metrics.lwlrap):
        with pytest.raises(ValueError, match="label"):
            figure(scores, none)
    for figure in (metrics.micro_f1, metrics.macro_f1):
        with pytest.raises(ValueError, match="label"):
            figure(none, none)


@pytest.mark.parametrize(
    ("scores", "truth"),
    [
        (np.zeros((3, 2)), np.zeros((2, 3), bool)),
        (np.zeros(3), np.zeros(3, bool)),
        (np.zeros((3, 2)), np.zeros((3, 2), int)),
        (np.full((3, 2), np.nan), np.zeros((3, 2), bool)),
    ],
)
def test_arrays_of_other_shapes_are_refused(scores, truth):
    with pytest.raises(ValueError, match="scores"):
        metrics.label_average_precision(scores, truth)
