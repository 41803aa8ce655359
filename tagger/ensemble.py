"""From bag predictions to the score of a clip (paper sections 3.5, 4.1, 4.2).

Conventions: probabilities are float32 and sum to 1 over the last axis; a *member* is one extractor
with its head.
"""

import numpy as np
import numpy.typing as npt

from tagger.arrays import FloatArray

LOG_FLOOR = 1e-8  # added before the logarithm, so that one member's zero is no veto


def clip_mean(predictions: FloatArray) -> FloatArray:
    """Score (K,) of one clip: the mean over its bags' predictions (n_bags, K)."""
    mean: FloatArray = predictions.mean(0)
    return mean


def geometric_mean(members: FloatArray) -> FloatArray:
    """Geometric mean over members, (..., K), of (n_members, ..., K), made to sum to 1 again."""
    mean = np.exp(np.log(members.astype(np.float64) + LOG_FLOOR).mean(0))
    shares: FloatArray = (mean / mean.sum(-1, keepdims=True)).astype(np.float32)
    return shares


def top_k(scores: FloatArray, k: int, threshold: float = 0.0) -> npt.NDArray[np.intp]:
    """Class indices of the ``k`` highest of (K,) scores that reach ``threshold``, best first.

    Equal scores rank in class order.
    """
    best = np.argsort(-scores, kind="stable")[:k]
    return best[scores[best] >= threshold]
