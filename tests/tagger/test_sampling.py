"""Batches and pitch-shifted copies (paper sections 2.2 and 3.2)."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tagger import sampling

class_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=12)
seeds = st.integers(0, 2**32 - 1)


def _labels(sizes, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@given(class_sizes, seeds)
def test_a_balanced_batch_holds_one_clip_of_each_class_always(sizes, seed):
    labels = _labels(sizes, seed)
    batches = list(sampling.balanced(labels, np.random.default_rng(seed)))
    assert len(batches) == max(sizes)
    for batch in batches:
        assert sorted(labels[batch]) == list(range(len(sizes)))


@given(class_sizes, seeds)
def test_the_clips_of_a_class_take_turns(sizes, seed):
    labels = _labels(sizes, seed)
    uses = Counter(np.concatenate(list(sampling.balanced(labels, np.random.default_rng(seed)))))
    assert set(uses) == set(range(len(labels)))
    for label in range(len(sizes)):
        of_class = [uses[clip] for clip in np.flatnonzero(labels == label)]
        assert max(of_class) - min(of_class) <= 1


@given(st.integers(0, 100), st.integers(1, 41), seeds)
def test_unbalanced_batches_hold_every_clip_once(n_clips, batch_size, seed):
    batches = list(sampling.unbalanced(n_clips, batch_size, np.random.default_rng(seed)))
    assert sorted(clip for batch in batches for clip in batch) == list(range(n_clips))
    sizes = [len(batch) for batch in batches]
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert not sizes or min(sizes) >= batch_size // 2 or len(sizes) == 1


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: sampling.balanced(_labels([5, 9, 2]), rng),
        lambda rng: sampling.unbalanced(16, 5, rng),
    ],
)
def test_batches_follow_from_the_seed(draw):
    def run(seed):
        return np.concatenate(list(draw(np.random.default_rng(seed)))).tolist()

    assert run(1) == run(1)
    assert run(1) != run(2)


@given(class_sizes, seeds)
def test_copies_raise_every_class_to_the_largest_and_are_spread_evenly(sizes, seed):
    labels = _labels(sizes, seed)
    copies = sampling.copies_needed(labels)
    for label, size in enumerate(sizes):
        of_class = copies[labels == label]
        assert size + of_class.sum() == max(sizes)
        assert of_class.max() - of_class.min() <= 1


label_sets = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 6)))


@given(label_sets, seeds)
def test_a_balanced_batch_holds_a_clip_of_each_label_and_one_without(sets, seed):
    """PANNs: each label draws in turn from clips of its own, so that rare ones come as often."""
    batches = list(sampling.balanced(sets, np.random.default_rng(seed)))
    sizes = np.append(sets.sum(0), (~sets.any(1)).sum())
    assert len(batches) == sizes.max()
    for batch in batches:
        drawn_for = np.flatnonzero(sizes)
        assert len(batch) == len(drawn_for)
        for clip, label in zip(batch, drawn_for, strict=True):
            assert sets[clip, label] if label < sets.shape[1] else not sets[clip].any()
    assert set(np.concatenate(batches)) == set(range(len(sets)))


@given(class_sizes, seeds)
def test_sets_of_one_label_are_drawn_and_copied_as_classes_are(sizes, seed):
    labels = _labels(sizes, seed)
    sets = np.eye(len(sizes), dtype=bool)[labels]
    assert (sampling.copies_needed(sets) == sampling.copies_needed(labels)).all()
    batches = [
        np.concatenate(list(sampling.balanced(each, np.random.default_rng(seed))))
        for each in (labels, sets)
    ]
    assert (batches[0] == batches[1]).all()


@given(label_sets)
def test_copies_of_clips_with_several_labels_count_for_each(sets):
    """No class stays below what was the largest; none gets a copy that no class needed."""
    copies = sampling.copies_needed(sets)
    groups = np.column_stack([sets, ~sets.any(1)])
    before = groups.sum(0)
    after = before + copies @ groups
    assert (after[before > 0] >= before.max()).all()
    for clip in np.flatnonzero(copies):
        assert (before[groups[clip]] < before.max()).any()


def test_the_whole_training_set_needs_2827_copies():
    sizes = [300] * 20 + [94] + [0] * 20  # 9473 clips in 41 classes, from 94 to 300 each
    spread = divmod(9473 - sum(sizes), 20)
    sizes[21:] = [spread[0] + (i < spread[1]) for i in range(20)]
    assert sampling.copies_needed(_labels(sizes)).sum() == 41 * 300 - 9473 == 2827


@given(st.text(max_size=20), st.integers(1, 24), seeds)
def test_semitones_are_reproducible_and_never_zero(clip_id, copy, seed):
    semitones = sampling.draw_semitones(clip_id, copy, seed)
    assert semitones in range(-12, 13)
    assert semitones != 0
    assert semitones == sampling.draw_semitones(clip_id, copy, seed)


def test_the_copies_of_a_clip_differ():
    drawn = [sampling.draw_semitones("a.wav", copy, 7) for copy in range(1, 25)]
    assert sorted(drawn) == list(sampling.SEMITONES)


def test_semitones_are_uniform_over_clips():
    counts = Counter(sampling.draw_semitones(f"{n}.wav", 1, 0) for n in range(4800))
    expected = 4800 / 24
    chi_squared = sum((counts[n] - expected) ** 2 / expected for n in sampling.SEMITONES)
    assert chi_squared < 49.7  # the 0.1 % point with 23 degrees of freedom


def test_semitones_do_not_depend_on_the_machine():
    drawn = [sampling.draw_semitones("00044347.wav", copy, 2018) for copy in (1, 2, 3)]
    assert drawn == [-12, -1, 8]
