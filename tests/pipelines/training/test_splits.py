"""Which clips train, validate and test, by the name of a split."""

import numpy as np
import pytest

from pipelines.training.splits import parts
from tagger.errors import CommandError
from tests.support.small_data import without_sound


def test_a_fold_tests_and_nothing_validates():
    split = parts(without_sound(24, folds=True), "fold-2")
    assert (1 + split.test // 2 % 4 == 2).all()
    assert len(split.validation) == 0
    assert sorted([*split.train, *split.test]) == list(range(24))


@pytest.mark.parametrize(("name", "validates"), [("fold-2-first", 4), ("fold-2-last", 1)])
def test_within_a_fold_s_training_clips_another_fold_validates(name, validates):
    data = without_sound(24, folds=True)
    split = parts(data, name)
    assert set(data.clips["fold"].iloc[split.validation]) == {validates}
    assert sorted([*split.train, *split.validation, *split.test]) == list(range(24))
    assert split.test_name == parts(data, "fold-2").test_name == "fold-2"


def test_first_and_last_test_on_the_test_clips():
    data = without_sound(24, n_test=4)
    first, last = parts(data, "first-20"), parts(data, "last-20")
    assert first.train.tolist() == list(range(20))
    assert last.validation.tolist() == list(range(4))
    assert first.test.tolist() == last.test.tolist() == [24, 25, 26, 27]


def test_all_leaves_the_test_clips():
    split = parts(without_sound(24, n_test=4), "all")
    assert (len(split.train), len(split.validation), len(split.test)) == (24, 0, 4)


@pytest.mark.parametrize("name", ["fold-9", "fold-x", "first", "random", "first-24", "first-1"])
def test_impossible_splits_are_refused(name):
    with pytest.raises(CommandError):
        parts(without_sound(24, folds=True), name)


def test_a_class_that_only_validates_is_told():
    data = without_sound(24, folds=True)
    data.clips["label"] = np.where(data.clips["fold"] >= 3, "b", "a")
    assert len(parts(data, "fold-2-first").train) == 12
    with pytest.raises(CommandError, match="without clips to train on: b"):
        parts(data, "fold-3-first")
