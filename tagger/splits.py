"""Training and validation parts of a data set (paper section 2.2).

Splits are of clips: a pitch-shifted copy goes where its clip goes.
"""

from dataclasses import dataclass

import numpy as np

from tagger.arrays import BoolArray, IndexArray, LabelArray
from tagger.dataset import Dataset
from tagger.errors import CommandError


@dataclass(frozen=True)
class Split:
    """Rows of ``Dataset.clips`` to train on and to validate on.

    Attributes
    ----------
    name : as records show it
    train, validation : (n,) int64 each, disjoint
    """

    name: str
    train: IndexArray
    validation: IndexArray


def first(dataset: Dataset, n: int) -> Split:
    """Train on the first ``n`` clips in metadata order, validate on the others.

    Raises
    ------
    CommandError : a part is empty, or a class has no clip to train on
    """
    rows = dataset.development()
    return _checked(dataset, Split(f"first-{n}", rows[:n], rows[n:]))


def last(dataset: Dataset, n: int) -> Split:
    """Train on the last ``n`` clips in metadata order, validate on the others.

    Raises
    ------
    CommandError : a part is empty, or a class has no clip to train on
    """
    rows = dataset.development()
    n_others = max(0, len(rows) - n)
    return _checked(dataset, Split(f"last-{n}", rows[n_others:], rows[:n_others]))


def folds(dataset: Dataset, k: int | None = None) -> list[Split]:
    """One split per fold, each validated on its fold and trained on the others.

    The data set's own folds are used where it has them: clips of one recording share a fold there.
    Otherwise the clips of each class are dealt out to ``k`` folds in metadata order, or where clips
    have several labels by iterative stratification.

    Parameters
    ----------
    k : how many folds, at least 2; None: those of the data set

    Raises
    ------
    CommandError : the data set has another number of folds, or folds for some clips only; it has
        none and ``k`` is None; a part is empty, or a class has no clip to train on
    """
    rows = dataset.development()
    fold_of = dataset.clips["fold"].iloc[rows]
    if fold_of.isna().all():
        numbers = _dealt(dataset.truth()[rows], k)
    elif fold_of.isna().any():
        raise CommandError(f"{int(fold_of.isna().sum())} clips have no fold, the others have one")
    else:
        numbers = fold_of.to_numpy(np.int64)
    values = np.unique(numbers)
    if k is not None and k != len(values):
        raise CommandError(f"{k} folds wanted, but the data set has {len(values)}")
    return [
        _checked(dataset, Split(f"fold-{v}", rows[numbers != v], rows[numbers == v]))
        for v in values
    ]


def _dealt(truth: LabelArray, k: int | None) -> IndexArray:
    """Folds 1 to k: the j-th clip of a class goes to fold 1 + j mod k."""
    if k is None or k < 2:
        raise CommandError("the data set has no folds: say how many to make, at least 2")
    if truth.ndim == 2:
        return _stratified(truth, k)
    numbers = np.empty(len(truth), np.int64)
    for label in np.unique(truth):
        of_class = truth == label
        numbers[of_class] = 1 + np.arange(of_class.sum()) % k
    return numbers


def _stratified(sets: BoolArray, k: int) -> IndexArray:
    """Folds 1 to k of clips with several labels (Sechidis, Tsoumakas and Vlahavas 2011).

    Labels take turns, always the one of which the fewest clips are left. Each of its clips goes to
    the fold that lacks most clips of the label, and of these the one that lacks most clips at all;
    clips without labels come last.
    """
    groups = np.column_stack([sets, ~sets.any(axis=1)])
    lacking = np.tile(groups.sum(axis=0) / k, (k, 1))
    places = np.full(k, len(sets) / k)
    numbers = np.zeros(len(sets), np.int64)
    while (left := numbers == 0).any():
        n_left = groups[left].sum(axis=0)
        n_left[-1] += n_left[-1] * len(sets)  # clips without labels
        label = int(np.where(n_left > 0, n_left, np.inf).argmin())
        for clip in np.flatnonzero(left & groups[:, label]):
            fold = int(np.lexsort((-places, -lacking[:, label]))[0])
            numbers[clip] = 1 + fold
            lacking[fold] -= groups[clip]
            places[fold] -= 1
    return numbers


def by_column(dataset: Dataset) -> Split:
    """Train on the data set's own "train" clips, validate on its "validation" clips.

    Raises
    ------
    CommandError : a part is empty, or a class has no clip to train on
    """
    column = dataset.clips["split"].to_numpy()
    parts = (np.flatnonzero(column == part) for part in ("train", "validation"))
    return _checked(dataset, Split("column", *parts))


def everything(dataset: Dataset) -> Split:
    """Train on all development clips, validate on none."""
    return Split("all", dataset.development(), np.empty(0, np.int64))


def _checked(dataset: Dataset, split: Split) -> Split:
    """The split, once it is known to be of use."""
    for part, rows in (("train", split.train), ("validate", split.validation)):
        if not len(rows):
            raise CommandError(f"split {split.name} leaves no clips to {part} on")
    if missing := dataset.lacking(split.train):
        raise CommandError(
            f"split {split.name} leaves classes without clips to train on: {', '.join(missing)}; "
            "put the clips in another order, or give them folds"
        )
    return split
