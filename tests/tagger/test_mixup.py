"""Mixup (paper section 3.3, equation 1)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagger import mixup

alphas = st.sampled_from([0.1, 0.2, 0.4, 1.0])  # rows E to H of Table 3
seeds = st.integers(0, 2**32 - 1)


def _batch(n, rng, n_classes=5):
    x = rng.normal(size=(n, 6, 8)).astype(np.float32)
    return x, np.eye(n_classes, dtype=np.float32)[rng.integers(n_classes, size=n)]


@given(st.integers(1, 20), alphas, seeds)
def test_equation_1_pair_by_pair(n, alpha, seed):
    rng = np.random.default_rng(seed)
    x, y = _batch(n, rng)
    weights, partners = mixup.draw(n, alpha, rng)
    mixed_x, mixed_y = (mixup.apply(values, weights, partners) for values in (x, y))
    for i, j in enumerate(partners):
        lam = float(weights[i])
        np.testing.assert_allclose(mixed_x[i], lam * x[i] + (1 - lam) * x[j], atol=1e-5)
        np.testing.assert_allclose(mixed_y[i], lam * y[i] + (1 - lam) * y[j], atol=1e-6)


@given(st.integers(1, 20), alphas, seeds)
def test_mixtures_are_convex_and_keep_label_mass(n, alpha, seed):
    rng = np.random.default_rng(seed)
    x, y = _batch(n, rng)
    weights, partners = mixup.draw(n, alpha, rng)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert sorted(partners) == list(range(n))
    mixed_x, mixed_y = (mixup.apply(values, weights, partners) for values in (x, y))
    assert mixed_x.dtype == mixed_y.dtype == np.float32
    np.testing.assert_allclose(mixed_y.sum(axis=1), 1, atol=1e-6)
    assert (mixed_y >= 0).all()
    assert (mixed_x <= np.maximum(x, x[partners]) + 1e-5).all()
    assert (mixed_x >= np.minimum(x, x[partners]) - 1e-5).all()


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_follow_the_beta_distribution(alpha):
    weights, _ = mixup.draw(20_000, alpha, np.random.default_rng(0))
    assert weights.mean() == pytest.approx(0.5, abs=0.01)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_a_draw_follows_from_the_seed():
    def run(seed):
        return [values.tolist() for values in mixup.draw(8, 0.2, np.random.default_rng(seed))]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_tensors_are_mixed_as_arrays_are():
    rng = np.random.default_rng(3)
    x, y = _batch(7, rng)
    drawn = mixup.draw(7, 0.2, rng)
    for values in (x, y):
        tensor = mixup.apply(torch.from_numpy(values), *map(torch.from_numpy, drawn))
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), mixup.apply(values, *drawn), atol=1e-6)
