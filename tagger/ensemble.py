"""From bag predictions to the score of a clip (paper sections 3.5, 4.1, 4.2).

Conventions: probabilities are float32; where a clip has one label they sum to 1 over the last axis,
where several they do not. K is the number of classes; a *member* is one extractor with its head.
"""

from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from tagger.arrays import DoubleArray, FloatArray, IndexArray
from tagger.labels import Labelling

_Real = TypeVar("_Real", bound=np.floating)

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


def combined(members: FloatArray, labelling: Labelling, temperature: float = 1.0) -> FloatArray:
    """The ensemble's probabilities (..., K) float32 from those of members, (n_members, ..., K).

    Where a clip has one label it is the geometric mean (paper section 4.2); where several, the
    arithmetic mean, and nothing is made to sum to 1 (PAPER.md D36). Then the ensemble's temperature
    acts on it.
    """
    mean = geometric_mean(members) if labelling == "one" else members.mean(0)
    return at_temperature(mean, temperature, labelling)


def at_temperature(
    probabilities: npt.NDArray[_Real], temperature: float, labelling: Labelling
) -> npt.NDArray[_Real]:
    """Probabilities (..., K) as they are when their logits are divided by a temperature.

    The ranks of a clip's labels stay as they are. Above 1 the probabilities come nearer to each
    other; 1 changes no bit (Guo et al., "On calibration of modern neural networks", ICML 2017).

    Parameters
    ----------
    labelling : whether the logits are those of a softmax, or of a sigmoid for each label
    """
    if temperature == 1.0:
        return probabilities
    wide = probabilities.astype(np.float64)
    powers = wide ** (1 / temperature)
    if labelling == "several":
        wholes = powers + (1 - wide) ** (1 / temperature)
    else:
        wholes = powers.sum(-1, keepdims=True)
    return (powers / wholes).astype(probabilities.dtype)


def top_k(scores: FloatArray, k: int, threshold: float | DoubleArray = 0.0) -> IndexArray:
    """The classes with the highest scores, best first; equal scores rank in class order.

    Parameters
    ----------
    scores : (K,)
    k : how many classes, at most
    threshold : least score of a class, one for all or (K,)

    Returns
    -------
    (n,) int64 class numbers, n at most ``k``
    """
    order = np.argsort(-scores, kind="stable")
    return order[(scores >= threshold)[order]][:k]
