"""How many clips each class has in each part of a data set, and what that is too little for."""

from collections.abc import Iterator
from typing import Final

import pandas as pd

from pipelines.training.splits import N_FOLDS
from tagger.dataset import Dataset

_FOLD: Final = "fold "  # begins the name of a fold's column


def class_table(dataset: Dataset) -> pd.DataFrame:
    """A row for each class, in the order of the class numbers, and columns of clip counts.

    A clip counts for each of its labels. The columns are the parts that the data set has (train,
    validation, test) and its folds.
    """
    sets = dataset.label_sets()
    split, fold = dataset.clips["split"], dataset.clips["fold"]
    parts = {name: split == name for name in ("train", "validation", "test")}
    parts |= {f"{_FOLD}{number}": fold == number for number in sorted(fold.dropna().unique())}
    counts = {
        name: sets[mask.fillna(False).to_numpy(bool)].sum(axis=0) for name, mask in parts.items()
    }
    table = pd.DataFrame(counts, index=pd.Index(dataset.labels.names, name="class"))
    return table.loc[:, table.any()]


def of_sets(dataset: Dataset) -> Iterator[str]:
    """A line about how many labels a clip has, where it may have several."""
    if dataset.labelling == "one":
        return
    n_labels = dataset.label_sets()[dataset.has_truth()].sum(axis=1)
    without = int((n_labels == 0).sum())
    yield (
        f"labels a clip: {n_labels.mean():.2f} on average, {n_labels.max()} at most; "
        f"clips without labels: {without}"
    )


def too_small(table: pd.DataFrame) -> Iterator[str]:
    """A line for each thing that classes of a ``class_table`` have too few clips for."""
    of_folds = table.filter(like=_FOLD)
    if of_folds.empty:
        n_clips = table.drop(columns="test", errors="ignore").sum(axis=1)
        if few := _names(table.index[n_clips < N_FOLDS]):
            yield f"too few clips to be tested in each of {N_FOLDS} folds: {few}"
    elif alone := _names(table.index[of_folds.max(axis=1) == of_folds.sum(axis=1)]):
        yield f"all clips in one fold, which leaves none to train on when it tests: {alone}"
    if single := _names(table.index[table.get("train", table.sum(axis=1)) == 1]):
        yield f"one clip only to train on: {single}"
    for part in ("validation", "test"):
        if part in table and (none := _names(table.index[table[part] == 0])):
            yield f"no {part} clips: {none}"


def _names(classes: pd.Index) -> str:
    more = f" and {len(classes) - 10} more" if len(classes) > 10 else ""
    return ", ".join(classes[:10]) + more
