"""Examples out of takes, and the batches of an epoch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tagger.examples import PADDING, Takes, batches


def takes(lengths: list[int], labels: list[int]) -> Takes:
    """Values that tell their own place: the k-th is (k, k)."""
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = np.repeat(np.arange(starts[-1], dtype=np.float32)[:, None], 2, axis=1)
    return Takes(values, starts, np.array(labels), max(labels) + 1)


def test_single_values_carry_their_take_s_label():
    examples = takes([2, 1], [1, 0]).single()
    assert examples.inputs(np.array([0, 2])).tolist() == [[0, 0], [2, 2]]
    assert examples.labels.tolist() == [1, 1, 0]
    assert examples.takes.tolist() == [0, 0, 1]
    assert examples.targets(np.array([0, 2])).tolist() == [[0, 1], [1, 0]]


def test_label_sets_are_the_targets():
    sets = np.array([[True, True, False], [False, False, False]])
    examples = Takes(np.zeros((3, 2), np.float32), np.array([0, 1, 3]), sets, 3).single()
    assert examples.labelling == "several"
    assert examples.targets(np.array([0, 2])).tolist() == [[1, 1, 0], [0, 0, 0]]
    assert examples.targets(np.array([0])).dtype == np.float32


def test_bags_repeat_what_is_too_short_and_never_cross_takes():
    examples = takes([3, 1], [0, 1]).bags(2)
    assert examples.index.tolist() == [[0, 1], [2, 2], [3, 3]]
    assert examples.takes.tolist() == [0, 0, 1]


def test_whole_takes_are_padded_with_zeros():
    examples = takes([1, 3], [0, 1]).whole()
    assert examples.sequences
    assert examples.index.tolist() == [[0, PADDING, PADDING], [1, 2, 3]]
    assert examples.lengths(np.array([0, 1])).tolist() == [1, 3]
    assert examples.inputs(np.array([0]))[0].tolist() == [[0, 0], [0, 0], [0, 0]]
    assert examples.inputs(np.array([1]))[0].tolist() == [[1, 1], [2, 2], [3, 3]]


def test_windows_are_whole():
    examples = takes([6, 4], [0, 1]).windows(4, 1.5)
    assert examples.index.tolist() == [[0, 1, 2, 3], [1, 2, 3, 4], [6, 7, 8, 9]]


takes_of_classes = st.lists(
    st.lists(st.integers(1, 4), min_size=1, max_size=9), min_size=1, max_size=6
)


@given(takes_of_classes, st.integers(0, 1000))
def test_balanced_batches_hold_one_take_of_each_class_whole(lengths, seed):
    labels = [label for label, of_class in enumerate(lengths) for _ in of_class]
    flat = [n for of_class in lengths for n in of_class]
    order = np.random.default_rng(seed).permutation(len(flat))
    every = takes([flat[i] for i in order], [labels[i] for i in order])
    examples = every.single()
    made = list(batches(examples, "balanced", 1, np.random.default_rng(seed)))
    assert len(made) == max(len(of_class) for of_class in lengths)
    for batch in made:
        drawn = np.unique(examples.takes[batch])
        assert sorted(every.labels[drawn]) == list(range(len(lengths)))
        assert len(batch) == sum(np.diff(every.starts)[drawn])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(1, 9))
def test_other_batches_hold_every_example_once(lengths, size):
    examples = takes(lengths, [i % 3 for i in range(len(lengths))]).single()
    for kind in ("unbalanced", "examples"):
        made = list(batches(examples, kind, size, np.random.default_rng(0)))
        assert sorted(np.concatenate(made).tolist()) == list(range(len(examples)))
    sizes = [len(batch) for batch in made]
    assert max(sizes) - min(sizes) <= 1
