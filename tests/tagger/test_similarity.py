"""Cosines against scikit-learn and against plain sums; where directions point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from tagger.similarity import MARGIN, common_direction, cosines, exact_cosines

SEEDS = st.integers(0, 2**32 - 1)


def unit(vector):
    return vector / np.linalg.norm(vector)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([np.float32, np.float16]), st.sampled_from([1e-3, 1.0, 300.0]))
def test_cosines_are_those_of_scikit_learn(seed, dtype, scale):
    rng = np.random.default_rng(seed)
    rows = (scale * rng.standard_normal((20, 128))).astype(dtype)
    direction = unit(rng.standard_normal(128))
    wanted = cosine_similarity(rows.astype(np.float64), direction[None])[:, 0]
    np.testing.assert_allclose(exact_cosines(rows, direction), wanted, atol=1e-7)
    np.testing.assert_allclose(cosines(rows, direction), wanted, atol=MARGIN / 10)


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e-15, 1e15, 1e20, 1e36])
def test_the_scale_of_an_embedding_does_not_matter(scale):
    rows = np.random.default_rng(0).standard_normal((5, 128)).astype(np.float32)
    direction = unit(rows[2].astype(np.float64))
    found = cosines((rows * np.float64(scale)).astype(np.float32), direction)
    np.testing.assert_allclose(found, cosines(rows, direction), atol=1e-5)
    assert found[2] == pytest.approx(1.0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("cosine", [cosines, exact_cosines])
def test_what_points_nowhere_has_no_cosine(cosine, value):
    rows = np.ones((3, 128), np.float32)
    rows[1] = value
    found = cosine(rows, unit(np.ones(128)))
    assert np.isnan(found).tolist() == [False, True, False]


def test_equal_embeddings_have_equal_cosines_wherever_they_stand():
    rng = np.random.default_rng(1)
    row, direction = rng.standard_normal(128).astype(np.float32), unit(rng.standard_normal(128))
    alone = exact_cosines(row[None], direction)
    for n in (2, 3, 17, 64, 100):
        rows = rng.standard_normal((n, 128)).astype(np.float32)
        rows[n // 2] = row
        assert exact_cosines(rows, direction)[n // 2] == alone[0]
        assert exact_cosines(np.asfortranarray(rows), direction)[n // 2] == alone[0]


def test_examples_count_the_same_however_long_and_loud_they_are():
    x, y = np.eye(128)[:2]
    short, long_ = y[None], np.stack([1000 * x] * 30)
    np.testing.assert_allclose(common_direction([short, long_]), unit(x + y))


def test_segments_count_the_same_however_loud_they_are():
    x, y = np.eye(128)[:2]
    np.testing.assert_allclose(common_direction([np.stack([x, 50 * y])]), unit(x + y))


def test_counterexamples_push_away():
    x, y, z = np.eye(128)[:3]
    found = common_direction([(x + y)[None]], [y[None], z[None]])
    np.testing.assert_allclose(found, unit(unit(x + y) - (y + z) / 2))


def test_segments_that_point_nowhere_do_not_count():
    x = np.eye(128)[0]
    rows = np.stack([np.zeros(128), x, np.full(128, np.nan), np.full(128, np.inf)])
    np.testing.assert_allclose(common_direction([rows]), x)


@pytest.mark.parametrize(
    ("examples", "counterexamples"),
    [
        ([np.zeros((2, 128))], []),
        ([np.full((1, 128), np.nan)], []),
        ([np.stack([np.ones(128), -np.ones(128)])], []),
        ([np.ones((1, 128))], [3 * np.ones((2, 128))]),
    ],
)
def test_what_cancels_out_points_nowhere(examples, counterexamples):
    assert common_direction(examples, counterexamples) is None
