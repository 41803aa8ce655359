"""Which clips an extractor and its heads are trained, validated and tested on, by name.

first-N, last-N   section 2.2: so many clips in metadata order; the others validate, the data
                  set's test clips test
column            the data set's own train, validation and test clips
all               every clip but the data set's test clips, which test
fold-K            every fold but K; fold K tests; nothing validates, so that no choice is made
                  on the clips that are measured
fold-K-first      as fold-K, but the last of its training folds validates
fold-K-last       as fold-K, but the first of its training folds validates

A data set without folds has ``N_FOLDS``, dealt out class by class in metadata order.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tagger import splits
from tagger.arrays import IndexArray
from tagger.configs import TrainingConfig
from tagger.dataset import Dataset
from tagger.errors import CommandError, OptionError

N_FOLDS: Final = 5
EVERYTHING: Final = "all"
TEST: Final = "test"  # the name of the test that the data set has itself


@dataclass(frozen=True)
class Parts:
    """Rows of ``Dataset.clips``, three disjoint parts; ``test_name`` is equal for equal tests."""

    train: IndexArray
    validation: IndexArray
    test: IndexArray
    test_name: str


def parts(dataset: Dataset, name: str) -> Parts:
    """The parts of a split.

    Raises
    ------
    CommandError : no such split, or one that leaves a class without clips to train on
    """
    if match := re.fullmatch(r"fold-(\d+)(-first|-last)?", name):
        return _fold(dataset, int(match[1]), match[2] or "")
    if match := re.fullmatch(r"(first|last)-(\d+)", name):
        make = splits.first if match[1] == "first" else splits.last
        split = make(dataset, int(match[2]))
    elif name == "column":
        split = splits.by_column(dataset)
    elif name == EVERYTHING:
        split = splits.everything(dataset)
    else:
        raise CommandError(
            f"no split {name!r}: first-N, last-N, column, all, fold-K, fold-K-first, fold-K-last"
        )
    return Parts(split.train, split.validation, dataset.test(), TEST)


def has_folds(dataset: Dataset) -> bool:
    """Whether the data set brings folds of its own."""
    return bool(dataset.clips["fold"].notna().any())


def folds(dataset: Dataset) -> dict[str, splits.Split]:
    """The splits ``fold-1``, ``fold-2`` ... by name."""
    every = splits.folds(dataset, None if has_folds(dataset) else N_FOLDS)
    return {split.name: split for split in every}


def _fold(dataset: Dataset, k: int, inner: str) -> Parts:
    every = folds(dataset)
    if f"fold-{k}" not in every:
        raise CommandError(f"no fold {k}: the data set has {', '.join(every)}")
    train, test = every[f"fold-{k}"].train, every[f"fold-{k}"].validation
    none = np.empty(0, np.int64)
    if not inner:
        return Parts(train, none, test, f"fold-{k}")
    others = [name for name in every if name != f"fold-{k}"]
    validation = every[others[-1] if inner == "-first" else others[0]].validation
    train = np.setdiff1d(train, validation)
    check_classes(dataset, train, f"fold-{k}{inner}")
    return Parts(train, validation, test, f"fold-{k}")


def check_classes(dataset: Dataset, train: IndexArray, name: str) -> None:
    """CommandError where a class has no clip among those to train on."""
    if missing := dataset.lacking(train):
        raise CommandError(
            f"split {name} leaves classes without clips to train on: {', '.join(missing)}"
        )


def check_validation(split: Parts, name: str, training: TrainingConfig) -> None:
    """OptionError where training is to stop early and nothing validates."""
    if training.patience is not None and not len(split.validation):
        raise OptionError(
            "patience",
            f"needs validation clips to stop early by, and split {name} leaves none: make it 0, "
            "and give the number of epochs",
        )
