"""What the report of label sets says of chance, held against scores that are drawn at random."""

import numpy as np
import pytest

from pipelines.training.label_set_report import chance, is_at_chance
from pipelines.training.report_parts import over_labels

N_DRAWS = 300


@pytest.fixture
def truth():
    """60 clips with each of four labels now and then; a fifth label that no clip has."""
    found = np.random.default_rng(1).random((60, 5)) < [0.1, 0.3, 0.5, 0.8, 0.0]
    assert found[:, :4].any(0).all()
    return found


def drawn(truth, strength=0.0):
    """Figures of scores that know the truth with some strength."""
    rng = np.random.default_rng(2)
    for _ in range(N_DRAWS):
        scores = rng.random(truth.shape) + strength * truth
        yield {"over_labels": over_labels(scores, truth), "chance": chance(truth)}


def test_the_error_is_that_of_random_scores(truth):
    auc = [found["over_labels"]["auc"] for found in drawn(truth)]
    told = chance(truth)
    assert np.mean(auc) == pytest.approx(told["auc"], abs=0.01)
    assert np.std(auc) == pytest.approx(told["auc_error"], rel=0.15)


def test_random_scores_are_at_chance_though_their_map_is_above_it(truth):
    draws = [*drawn(truth)]
    assert np.mean([is_at_chance(found) for found in draws]) > 0.94
    assert np.mean([found["over_labels"]["map"] > found["chance"]["map"] for found in draws]) > 0.8


def test_scores_that_tell_the_labels_are_not(truth):
    assert not any(is_at_chance(found) for found in drawn(truth, strength=0.5))
