"""Temperatures that are known, and the calibration error against a slow plain version."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from tagger import calibration
from tagger.calibration import Calibration, fit_temperature, reliability
from tagger.ensemble import at_temperature
from tagger.errors import CommandError

TEMPERATURES = [0.4, 1.0, 2.5]


def drawn(labelling, n=20_000, n_labels=5):
    """Logits, and a truth that is drawn by their probabilities."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0, 2, (n, n_labels))
    if labelling == "several":
        return logits, rng.random(logits.shape) < expit(logits)
    picked = softmax(logits, -1).cumsum(1) > rng.random((n, 1))
    return logits, np.arange(n_labels) == picked.argmax(1)[:, None]


PROBABILITIES = {"one": lambda logits: softmax(logits, -1), "several": expit}


@pytest.mark.parametrize("labelling", PROBABILITIES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_known_temperature_is_found(labelling, temperature):
    """Logits that were made so many times too large are divided by that."""
    logits, truth = drawn(labelling)
    probabilities = PROBABILITIES[labelling](logits * temperature)
    assert fit_temperature(probabilities, truth, labelling) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("labelling", PROBABILITIES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_a_temperature_divides_logits(labelling, temperature):
    logits, _ = drawn(labelling, n=50)
    of = PROBABILITIES[labelling]
    found = at_temperature(of(logits).astype(np.float32), temperature, labelling)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, of(logits / temperature), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("labelling", PROBABILITIES)
def test_certain_scores_stay_certain(labelling):
    certain = np.array([0.0, 1.0, 0.0], np.float32)
    np.testing.assert_array_equal(at_temperature(certain, 3.0, labelling), certain)


def test_a_temperature_of_1_changes_no_bit():
    logits, _ = drawn("one", n=50)
    probabilities = softmax(logits, -1).astype(np.float32)
    assert at_temperature(probabilities, 1.0, "one") is probabilities


@pytest.mark.parametrize("labelling", PROBABILITIES)
def test_it_is_the_most_likely_of_a_fine_grid(labelling):
    logits, truth = drawn(labelling, n=200)
    probabilities = PROBABILITIES[labelling](3 * logits)
    grid = np.geomspace(calibration.COLDEST, 1 / calibration.COLDEST, 400)
    losses = [
        calibration.negative_log_likelihood(probabilities, truth, labelling, float(t)) for t in grid
    ]
    found = fit_temperature(probabilities, truth, labelling)
    best = calibration.negative_log_likelihood(probabilities, truth, labelling, found)
    assert best <= min(losses) + 1e-9


def test_clips_that_are_all_right_have_the_coldest_temperature():
    scores = np.full((8, 2), 0.4)
    truth = np.zeros((8, 2), bool)
    scores[:, 0], truth[:, 0] = 0.6, True
    found = fit_temperature(scores, truth, "one")
    assert found == pytest.approx(calibration.COLDEST, rel=1e-3)
    assert Calibration(found, (0.5, 0.5)).temperature == found


def plain_error(scores, right, n_bins):
    """The definition, bin by bin."""
    error = 0.0
    for low, high in zip(
        *(np.linspace(0, 1, n_bins + 1)[i:][:n_bins] for i in (0, 1)), strict=True
    ):
        inside = (scores > low) & (scores <= high) | ((low == 0) & (scores == 0))
        if inside.any():
            gap = abs(scores[inside].mean() - right[inside].mean())
            error += inside.mean() * gap
    return error


@pytest.mark.parametrize("labelling", PROBABILITIES)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_calibration_error_is_that_of_the_definition(labelling, temperature):
    logits, truth = drawn(labelling, n=300)
    probabilities = PROBABILITIES[labelling](logits * temperature)
    scores, right = probabilities.ravel(), truth.ravel()
    if labelling == "one":
        best = probabilities.argmax(1)
        scores = probabilities.max(1)
        right = np.array([row[k] for row, k in zip(truth, best, strict=True)])
    found = reliability(probabilities, truth, labelling)
    assert found.error == pytest.approx(plain_error(scores, right, 15))
    assert found.n.sum() == len(scores)


def test_scores_on_the_edges_of_bins():
    found = reliability(np.array([[0.0, 1.0]]), np.array([[False, True]]), "several", n_bins=4)
    assert found.n.tolist() == [1, 0, 0, 1]
    assert found.error == 0
    assert np.isnan(found.share[1])


def test_no_clips_have_no_calibration():
    nothing = np.empty((0, 3)), np.empty((0, 3), bool)
    for measure in (reliability, fit_temperature):
        with pytest.raises(ValueError, match="no clips"):
            measure(*nothing, "one")


@pytest.mark.parametrize(
    "values", [(0.0, ()), (float("nan"), ()), (1.0, (1.5,)), (1.0, (0.5,), 0.0)]
)
def test_numbers_that_are_no_calibration_are_refused(values):
    with pytest.raises(CommandError):
        Calibration(*values)


def test_no_score_is_enough_for_a_label_without_threshold():
    assert Calibration(1.0, (0.25, None)).least_scores.tolist() == [0.25, np.inf]
