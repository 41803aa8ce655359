"""How alike sounds are: cosines between embeddings and the direction that examples point in.

Conventions: embeddings are (n, 128) of any floating type; a direction is a (128,) float64 vector of
length 1. An embedding that is zero, or not finite, points nowhere: its cosine is NaN.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from tagger.arrays import DoubleArray, FloatArray, RealArray

MARGIN: Final = 1e-4
"""More than ``cosines`` can be wrong: single precision over 128 products errs by 1e-5 at most."""

_SAFE_SQUARES: Final = (1e-30, 1e30)  # between them single precision has all its digits


def cosines(embeddings: RealArray, direction: DoubleArray) -> FloatArray:
    """Cosine of each embedding with a direction, (n,), by matrix products in float32.

    They are ``einsum``'s, which keep to one thread: callers have threads of their own, and those of
    a BLAS would wait for each other.
    """
    rows = np.ascontiguousarray(embeddings, np.float32)
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
        found: FloatArray = np.einsum("ij,j->i", rows, direction.astype(np.float32)) / np.sqrt(
            squares
        )
        odd = ~((squares > _SAFE_SQUARES[0]) & (squares < _SAFE_SQUARES[1]))
    if odd.any():
        found[odd] = exact_cosines(rows[odd], direction)
    return found


def exact_cosines(embeddings: RealArray, direction: DoubleArray) -> FloatArray:
    """Likewise, computed in float64: equal embeddings have equal cosines wherever they stand."""
    rows = np.ascontiguousarray(embeddings, np.float64)
    with np.errstate(all="ignore"):
        found = (rows * direction).sum(1) / np.sqrt((rows * rows).sum(1))
    cosine: FloatArray = np.clip(found, -1.0, 1.0).astype(np.float32)
    return cosine


def common_direction(
    examples: Sequence[RealArray], counterexamples: Sequence[RealArray] = ()
) -> DoubleArray | None:
    """Where examples point on average, away from where counterexamples do.

    Each counts the same, however many embeddings it has: it is the mean of their unit vectors, made
    a unit vector itself.

    Parameters
    ----------
    examples, counterexamples : the embeddings (n, 128) of each

    Returns
    -------
    None where that is nowhere: of nothing but zeros, or of what cancels out.
    """
    total = _mean([_own_direction(each) for each in examples])
    if counterexamples:
        total = total - _mean([_own_direction(each) for each in counterexamples])
    return _unit(total)


def _own_direction(embeddings: RealArray) -> DoubleArray:
    """The mean of unit vectors as a unit vector; zeros where there is none."""
    rows = np.asarray(embeddings, np.float64)
    with np.errstate(all="ignore"):
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    units = units[np.isfinite(units).all(1)]
    direction = _unit(_mean(list(units))) if len(units) else None
    return np.zeros(rows.shape[1]) if direction is None else direction


def _mean(vectors: Sequence[DoubleArray]) -> DoubleArray:
    mean: DoubleArray = np.mean(vectors, axis=0)
    return mean


def _unit(vector: DoubleArray) -> DoubleArray | None:
    length = np.linalg.norm(vector)
    unit: DoubleArray = vector / length if length > 1e-9 else vector
    return unit if length > 1e-9 else None
