"""Scores of tags against labels (paper section 3.5).

Conventions: ``scores`` is (n_clips, n_classes) floating point without NaN; ``ranking`` is
(n_clips, n_places) class numbers, best first, at least one place, -1 for a place without a
prediction; ``truth`` is (n_clips,) class numbers from 0. Arrays that are not like
this are a ``ValueError``.

No clips: functions with a figure per clip or per class give empty arrays, counts of 0 and NaN;
those with one figure for all clips raise ``ValueError``, since a mean of nothing is no score.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from tagger.arrays import DoubleArray, IndexArray, RealArray

PLACES: Final = 3


def rank(scores: RealArray, places: int = PLACES) -> IndexArray:
    """The best classes of each clip; of equal scores the lower class number comes first.

    Parameters
    ----------
    scores : (n_clips, n_classes)
    places : how many classes to name, at least 1

    Returns
    -------
    (n_clips, min(places, n_classes)) int64

    Raises
    ------
    ValueError : other shapes, scores that are NaN, no places
    """
    _require(scores.ndim == 2 and scores.shape[1] > 0, "scores", scores)
    if np.isnan(scores).any():
        raise ValueError("scores that are NaN have no ranks")
    _require_places(places)
    return np.argsort(-scores, axis=1, kind="stable")[:, :places]


def average_precision(ranking: IndexArray, truth: IndexArray, places: int = PLACES) -> DoubleArray:
    """Average precision at ``places`` of each clip, for one true class per clip.

    1, 1/2, 1/3 ... for a truth that comes first, second, third, and 0 where it does not come.
    Follows the implementation that the paper links (benhamner/Metrics, ``apk``): a class that is
    predicted twice counts the first time only, and its second mention takes up a place.

    Parameters
    ----------
    ranking : (n_clips, n_places)
    truth : (n_clips,)
    places : how many of the places count, at least 1

    Returns
    -------
    (n_clips,) float64 in [0, 1]

    Raises
    ------
    ValueError : see the module's conventions
    """
    _validate(ranking, truth)
    _require_places(places)
    hits = ranking[:, :places] == truth[:, None]
    return np.where(hits.any(axis=1), 1 / (1 + hits.argmax(axis=1)), 0.0)


def map_at(ranking: IndexArray, truth: IndexArray, places: int = PLACES) -> float:
    """Mean average precision at ``places``, in [0, 1]; with 3 places the paper's MAP@3.

    Parameters are those of ``average_precision``.

    Raises
    ------
    ValueError : no clips, and see the module's conventions
    """
    return _mean(average_precision(ranking, truth, places))


def accuracy(ranking: IndexArray, truth: IndexArray) -> float:
    """The share of clips whose first tag is right, in [0, 1].

    Parameters
    ----------
    ranking : (n_clips, n_places)
    truth : (n_clips,)

    Raises
    ------
    ValueError : no clips, and see the module's conventions
    """
    return _mean(average_precision(ranking, truth, 1))


def balanced_accuracy(ranking: IndexArray, truth: IndexArray) -> float:
    """The mean over classes of the share of its clips whose first tag is right, in [0, 1].

    Classes without clips do not count. A guess is right as often as there are classes, however
    unequal they are.

    Parameters
    ----------
    ranking : (n_clips, n_places)
    truth : (n_clips,)

    Raises
    ------
    ValueError : no clips, and see the module's conventions
    """
    points = average_precision(ranking, truth, 1)
    n_clips = np.bincount(truth)
    return _mean(np.bincount(truth, points)[n_clips > 0] / n_clips[n_clips > 0])


def confusion(ranking: IndexArray, truth: IndexArray, n_classes: int) -> IndexArray:
    """How many clips of each class (rows) have each first tag (columns).

    Parameters
    ----------
    ranking : (n_clips, n_places)
    truth : (n_clips,)
    n_classes : how many classes there are

    Returns
    -------
    (n_classes, n_classes) int64; a clip without any prediction is in no cell

    Raises
    ------
    ValueError : classes beyond ``n_classes``, and see the module's conventions
    """
    _validate(ranking, truth, n_classes)
    predicted = ranking[:, 0]
    answered = predicted >= 0
    cells = truth[answered] * n_classes + predicted[answered]
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class(ranking: IndexArray, truth: IndexArray, names: Sequence[str]) -> pd.DataFrame:
    """One row per class.

    Parameters
    ----------
    ranking : (n_clips, n_places)
    truth : (n_clips,)
    names : of the classes

    Returns
    -------
    Columns label, n_clips, map_at_3, recall (the share of its clips whose first tag is right) and
    precision (the share of clips with this first tag that are of the class); NaN where there is
    nothing to divide by.

    Raises
    ------
    ValueError : classes without a name, and see the module's conventions
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


def _validate(ranking: IndexArray, truth: IndexArray, n_classes: int | None = None) -> None:
    """ValueError unless the arrays are what the module's conventions say."""
    _require(ranking.ndim == 2 and ranking.shape[1] > 0, "ranking", ranking)
    _require(truth.shape == ranking.shape[:1], f"truth of {len(ranking)} clips", truth)
    for name, array, least in (("ranking", ranking, -1), ("truth", truth, 0)):
        _require(np.issubdtype(array.dtype, np.signedinteger), name, array)
        if array.min(initial=least) < least:
            raise ValueError(f"{name} holds {array.min()}, class numbers begin at 0")
        if n_classes is not None and array.max(initial=-1) >= n_classes:
            raise ValueError(f"{name} holds {array.max()}, there are {n_classes} classes")


def _require(right: bool, name: str, array: npt.NDArray[np.generic]) -> None:
    if not right:
        raise ValueError(f"{name} cannot have shape {array.shape} and dtype {array.dtype}")


def _require_places(places: int) -> None:
    if places < 1:
        raise ValueError(f"{places} places leave nothing to score")


def _mean(values: DoubleArray) -> float:
    if not len(values):
        raise ValueError("there are no clips to score")
    return float(values.mean())


def _divided(parts: npt.ArrayLike, wholes: IndexArray) -> DoubleArray:
    """Quotients, NaN where the whole is 0."""
    quotients = np.full(len(wholes), np.nan)
    np.divide(parts, wholes, out=quotients, where=wholes > 0)
    return quotients
