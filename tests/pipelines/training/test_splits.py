"""Which clips train, validate and test, by the name of a split."""

import numpy as np
import pandas as pd
import pytest

from pipelines.training.splits import parts
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.labels import LabelSet


def dataset(folds: bool, n: int = 24, n_test: int = 0) -> Dataset:
    """Two classes in turn; folds 1 to 4, every fourth clip one."""
    number = np.arange(n + n_test)
    clips = pd.DataFrame(
        {
            "name": [f"{i}.wav" for i in number],
            "label": np.where(number % 2, "b", "a"),
            "fold": pd.array(1 + number // 2 % 4 if folds else [None] * len(number), "Int64"),
            "split": np.where(number < n, "train", "test"),
            "usage": pd.array([None] * len(number), "string"),
        }
    )
    return Dataset("csv", LabelSet.of(["a", "b"]), clips)


def test_a_fold_tests_and_nothing_validates():
    split = parts(dataset(folds=True), "fold-2")
    assert (1 + split.test // 2 % 4 == 2).all()
    assert len(split.validation) == 0
    assert sorted([*split.train, *split.test]) == list(range(24))


@pytest.mark.parametrize(("name", "validates"), [("fold-2-first", 4), ("fold-2-last", 1)])
def test_within_a_fold_s_training_clips_another_fold_validates(name, validates):
    data = dataset(folds=True)
    split = parts(data, name)
    assert set(data.clips["fold"].iloc[split.validation]) == {validates}
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(24))
    assert split.test_name == parts(data, "fold-2").test_name == "fold-2"


def test_first_and_last_test_on_the_test_clips():
    data = dataset(folds=False, n_test=4)
    first, last = parts(data, "first-20"), parts(data, "last-20")
    assert first.train.tolist() == list(range(20))
    assert last.validation.tolist() == list(range(4))
    assert first.test.tolist() == last.test.tolist() == [24, 25, 26, 27]


def test_all_leaves_the_test_clips():
    split = parts(dataset(folds=False, n_test=4), "all")
    assert (len(split.train), len(split.validation), len(split.test)) == (24, 0, 4)


@pytest.mark.parametrize("name", ["fold-9", "fold-x", "first", "random", "first-24", "first-1"])
def test_impossible_splits_are_refused(name):
    with pytest.raises(CommandError):
        parts(dataset(folds=True), name)


def test_a_class_that_only_validates_is_told():
    data = dataset(folds=True)
    data.clips["label"] = np.where(data.clips["fold"] >= 3, "b", "a")
    assert len(parts(data, "fold-2-first").train) == 12
    with pytest.raises(CommandError, match="without clips to train on: b"):
        parts(data, "fold-3-first")
