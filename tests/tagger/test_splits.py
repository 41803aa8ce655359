"""Splits (paper section 2.2)."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagger import splits
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.labels import LabelSet


def _dataset(labels, **columns):
    """Clips of the given labels "a", "b", ...; no files are needed to split them."""
    clips = pd.DataFrame({"label": list(labels), "fold": pd.NA, "split": "train", "usage": pd.NA})
    for name, values in columns.items():
        clips[name] = values
    clips["fold"] = clips["fold"].astype("Int64")
    return Dataset("csv", LabelSet.of(sorted(set(labels))), clips)


def test_first_and_last_in_metadata_order():
    data = _dataset("abababa", split=["train"] * 3 + ["test"] + ["train"] * 3)
    first, last = splits.first(data, 4), splits.last(data, 4)
    assert (first.train.tolist(), first.validation.tolist()) == ([0, 1, 2, 4], [5, 6])
    assert (last.train.tolist(), last.validation.tolist()) == ([2, 4, 5, 6], [0, 1])
    assert (first.name, last.name) == ("first-4", "last-4")


@given(st.integers(4, 60), st.data())
def test_first_and_last_leave_nothing_out(n_clips, data):
    clips = _dataset("ab" * n_clips)
    n = data.draw(st.integers(2, 2 * n_clips - 1))
    for split in (splits.first(clips, n), splits.last(clips, n)):
        assert len(split.train) == n
        both = np.concatenate([split.train, split.validation])
        assert sorted(both) == list(range(2 * n_clips))


def test_folds_of_the_data_set():
    data = _dataset("aabbab", fold=[1, 2, 1, 2, 4, 4])
    names = [(split.name, split.validation.tolist()) for split in splits.folds(data)]
    assert names == [("fold-1", [0, 2]), ("fold-2", [1, 3]), ("fold-4", [4, 5])]
    with pytest.raises(CommandError, match="5 folds wanted, but the data set has 3"):
        splits.folds(data, 5)


@given(st.lists(st.integers(2, 20), min_size=1, max_size=5), st.integers(2, 4))
def test_dealt_folds_are_stratified_and_cover_every_clip_once(sizes, k):
    labels = "".join(letter * size for letter, size in zip("abcde", sizes, strict=False))
    if max(sizes) < k:
        with pytest.raises(CommandError, match="folds"):
            splits.folds(_dataset(labels), k)
        return
    parts = splits.folds(_dataset(labels), k)
    assert sorted(np.concatenate([s.validation for s in parts])) == list(range(len(labels)))
    for letter, size in zip("abcde", sizes, strict=False):
        counts = [sum(labels[i] == letter for i in split.validation) for split in parts]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


@given(hnp.arrays(bool, st.tuples(st.integers(8, 40), st.integers(1, 4))), st.integers(2, 4))
@settings(deadline=None)
def test_folds_of_label_sets_cover_every_clip_once_and_share_out_each_label(sets, k):
    numbers = splits._stratified(sets, k)
    assert set(numbers) <= set(range(1, k + 1))
    sizes = np.bincount(numbers - 1, minlength=k)
    assert sizes.sum() == len(sets)
    rarest = min((n for n in sets.sum(0) if n), default=0)
    for column in sets.T[sets.sum(0) == rarest][:1]:  # the first label that is dealt out
        counts = np.bincount(numbers[column] - 1, minlength=k)
        assert counts.max() - counts.min() <= 1


def test_label_sets_are_shared_out_better_than_in_order():
    """Each label's share of each fold, against folds that take turns."""
    rng = np.random.default_rng(0)
    sets = rng.random((400, 8)) < np.array([0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])

    def uneven(numbers):
        shares = [sets[numbers == fold].sum(0) / sets.sum(0) for fold in range(1, 6)]
        return np.abs(np.array(shares) - 0.2).max()

    dealt = splits._stratified(sets, 5)
    assert uneven(dealt) < 0.06 < uneven(1 + np.arange(400) % 5)
    assert np.ptp(np.bincount(dealt - 1)) <= 12  # of 80


def test_folds_of_a_data_set_with_several_labels():
    texts = ['["a", "b"]', '["a"]', '["b"]', '["a", "b"]', '["a"]', "[]", '["b"]', "[]"]
    clips = pd.DataFrame({"label": texts, "fold": pd.array([None] * 8, "Int64"), "split": "train"})
    data = Dataset("csv", LabelSet.of(["a", "b"]), clips, labelling="several")
    for split in splits.folds(data, 2):
        assert data.label_sets()[split.validation].sum(0).tolist() == [2, 2]
        assert (~data.label_sets()[split.validation].any(1)).sum() == 1


def test_folds_must_be_complete_or_wanted():
    with pytest.raises(CommandError, match="1 clips have no fold"):
        splits.folds(_dataset("abab", fold=[1, 2, pd.NA, 1]))
    with pytest.raises(CommandError, match="say how many"):
        splits.folds(_dataset("abab"))


def test_by_column():
    data = _dataset("ababab", split=["train", "train", "validation", "test", "train", "validation"])
    split = splits.by_column(data)
    assert (split.train.tolist(), split.validation.tolist()) == ([0, 1, 4], [2, 5])
    with pytest.raises(CommandError, match="no clips to validate on"):
        splits.by_column(_dataset("ab"))


def test_everything():
    split = splits.everything(_dataset("abab", split=["train", "train", "test", "validation"]))
    assert (split.train.tolist(), split.validation.tolist()) == ([0, 1, 3], [])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda data: splits.first(data, 4), "first-4 leaves classes without .*: b"),
        (lambda data: splits.last(data, 2), "last-2 leaves classes without .*: a"),
        (lambda data: splits.first(data, 6), "no clips to validate on"),
        (lambda data: splits.last(data, 9), "no clips to validate on"),
        (lambda data: splits.first(data, 0), "no clips to train on"),
        (lambda data: splits.last(data, 0), "no clips to train on"),
    ],
)
def test_a_split_that_leaves_something_empty(split, message):
    with pytest.raises(CommandError, match=message):
        split(_dataset("aaaabb"))
