"""From bag predictions to the score of a clip (paper sections 3.5, 4.1, 4.2).

Conventions: probabilities are float32; where a clip has one label they sum to 1 over the last axis,
where several they do not. K is the number of classes; a *member* is one extractor with its head.
"""

from typing import Final

import numpy as np

from tagger.arrays import FloatArray, IndexArray
from tagger.labels import Labelling

LOG_FLOOR: Final = 1e-8  # added before the logarithm, so that one member's zero is no veto


def clip_mean(predictions: FloatArray) -> FloatArray:
    """Scores (K,) of one clip: the mean over its bags' predictions (n_bags, K), n_bags >= 1."""
    mean: FloatArray = predictions.mean(0)
    return mean


def geometric_mean(members: FloatArray) -> FloatArray:
    """Geometric mean (..., K) float32 over members of (n_members, ..., K), summing to 1 again."""
    mean = np.exp(np.log(members.astype(np.float64) + LOG_FLOOR).mean(0))
    shares: FloatArray = (mean / mean.sum(-1, keepdims=True)).astype(np.float32)
    return shares


def combined(members: FloatArray, labelling: Labelling) -> FloatArray:
    """The ensemble's probabilities (..., K) float32 from those of members, (n_members, ..., K).

    Where a clip has one label it is the geometric mean (paper section 4.2); where several, the
    arithmetic mean, and nothing is made to sum to 1 (PAPER.md D36).
    """
    if labelling == "one":
        return geometric_mean(members)
    mean: FloatArray = members.mean(0)
    return mean


def top_k(scores: FloatArray, k: int, threshold: float = 0.0) -> IndexArray:
    """The classes with the highest scores, best first; equal scores rank in class order.

    Parameters
    ----------
    scores : (K,)
    k : how many classes, at most
    threshold : least score of a class

    Returns
    -------
    (n,) int64 class numbers, n at most ``k``
    """
    best = np.argsort(-scores, kind="stable")[:k]
    return best[scores[best] >= threshold]
