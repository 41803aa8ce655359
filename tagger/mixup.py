"""Mixup: training on convex combinations of pairs of examples (paper section 3.3, equation 1).

Drawing and applying are two functions, and applying asks of its arrays no more than numpy arrays
and torch tensors have in common, so that one implementation serves both.
"""

from typing import Any, TypeVar

import numpy as np

from tagger.arrays import FloatArray, IndexArray

Array = TypeVar("Array", bound=Any)  # numpy array or torch tensor


def draw(n_examples: int, alpha: float, rng: np.random.Generator) -> tuple[FloatArray, IndexArray]:
    """The weights and partners of one batch.

    Parameters
    ----------
    n_examples : size of the batch, whose examples come in random order
    alpha : of the Beta distribution, above 0; the paper's best is 0.2
    rng : source of the random numbers

    Returns
    -------
    weights : (n_examples,) float32 in [0, 1], one per pair, from Beta(alpha, alpha)
    partners : (n_examples,) int64, a permutation: example i is mixed with example partners[i]
    """
    weights = rng.beta(alpha, alpha, n_examples).astype(np.float32)
    return weights, rng.permutation(n_examples)


def apply(values: Array, weights: Array, partners: Array) -> Array:
    """weights * values + (1 - weights) * values[partners], along the first axis.

    Call it once for the examples and once for their one-hot labels, with the same draw.

    Parameters
    ----------
    values : (n_examples, ...) float32
    weights, partners : from ``draw``; for torch tensors as tensors on the same device

    Returns
    -------
    the same shape, dtype and kind of array as ``values``
    """
    weights = weights.reshape((-1,) + (1,) * (values.ndim - 1))
    mixed: Array = weights * values + (1 - weights) * values[partners]
    return mixed
