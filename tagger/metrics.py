"""Scores of tags against labels (paper section 3.5).

Conventions: ``scores`` is (n_clips, n_classes) floating point, ``ranking`` (n_clips, n_places)
class indices, best first, ``truth`` (n_clips,) class indices. A place without a prediction is -1.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tagger.arrays import IndexArray

PLACES: Final = 3


def rank(scores: npt.NDArray[np.floating], places: int = PLACES) -> IndexArray:
    """The best classes of each clip; of equal scores the lower class index comes first.

    Returns
    -------
    (n_clips, min(places, n_classes)) int64
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :places]


def average_precision(
    ranking: IndexArray, truth: IndexArray, places: int = PLACES
) -> npt.NDArray[np.float64]:
    """Average precision at ``places`` of each clip, for one true class per clip.

    1, 1/2, 1/3 ... for a truth that comes first, second, third, and 0 where it does not come.
    Follows the implementation that the paper links (benhamner/Metrics, ``apk``): a class that is
    predicted twice counts the first time only, and its second mention takes up a place.

    Returns
    -------
    (n_clips,) float64
    """
    hits = ranking[:, :places] == truth[:, None]
    return np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0)


def map_at(ranking: IndexArray, truth: IndexArray, places: int = PLACES) -> float:
    """Mean average precision at ``places``, the paper's MAP@3.

    Raises
    ------
    ValueError : there are no clips
    """
    return _mean(average_precision(ranking, truth, places))


def accuracy(ranking: IndexArray, truth: IndexArray) -> float:
    """The share of clips whose first tag is right.

    Raises
    ------
    ValueError : there are no clips
    """
    return _mean(ranking[:, 0] == truth)


def _mean(values: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> float:
    if not len(values):
        raise ValueError("there are no clips to score")
    return float(values.mean())


def confusion(ranking: IndexArray, truth: IndexArray, n_classes: int) -> IndexArray:
    """How many clips of each class (rows) have each first tag (columns).

    Returns
    -------
    (n_classes, n_classes) int64; a clip without any prediction is in no cell
    """
    predicted = ranking[:, 0]
    answered = predicted >= 0
    cells = truth[answered] * n_classes + predicted[answered]
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(ranking: IndexArray, truth: IndexArray, names: Sequence[str]) -> pd.DataFrame:
    """One row per class.

    Returns
    -------
    columns label, n_clips, map_at_3, recall (the share of its clips whose first tag is right) and
    precision (the share of clips with this first tag that are of the class); null where there is
    nothing to divide by
    """
    counts = confusion(ranking, truth, len(names))
    n_clips = np.bincount(truth, minlength=len(names))
    points = np.bincount(truth, average_precision(ranking, truth), minlength=len(names))
    return pd.DataFrame(
        {
            "label": list(names),
            "n_clips": n_clips,
            "map_at_3": _divided(points, n_clips),
            "recall": _divided(counts.diagonal(), n_clips),
            "precision": _divided(counts.diagonal(), counts.sum(axis=0)),
        }
    )


def _divided(parts: npt.ArrayLike, wholes: IndexArray) -> npt.NDArray[np.float64]:
    quotients = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=quotients, where=wholes > 0)
    return quotients
