"""Intervals of paired differences, against scipy and a simulation."""

import numpy as np
import pytest
from scipy import stats

from pipelines.paper.intervals import half_width


def test_without_shared_clips_it_is_the_plain_t_interval():
    values = np.random.default_rng(0).normal(0.1, 1, 9)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert half_width(values, 0.0) == pytest.approx((high - low) / 2)


def test_shared_training_clips_widen_it_as_published():
    """Nadeau and Bengio: by the root of (1 / n + n_test / n_train) over 1 / n; 4 folds, 3 seeds."""
    values = np.random.default_rng(1).normal(0, 1, 12)
    ratio = half_width(values, 1 / 3) / half_width(values, 0.0)
    assert ratio == pytest.approx(np.sqrt((1 / 12 + 1 / 3) * 12))


def test_correlated_differences_are_covered_as_often_as_is_said():
    """The model behind the correction: any two differences correlate by n_test / n clips in all."""
    rng, share, n = np.random.default_rng(2), 1 / 3, 12
    common = rng.normal(size=4000) * np.sqrt(share / (1 + share))
    every = common[:, None] + rng.normal(size=(4000, n)) * np.sqrt(1 / (1 + share))
    covered = np.mean([abs(values.mean()) <= half_width(values, share) for values in every])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_one_difference_has_no_interval():
    assert np.isnan(half_width(np.array([0.1]), 0.0))
