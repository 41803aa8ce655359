"""What a network learns from at one step: shifted, mixed, and in shares."""

import numpy as np
import pytest
import torch

from tagger import mixup
from tagger.arrays import FloatArray
from tagger.examples import Examples, Takes
from tagger.feed import Feed

CPU = torch.device("cpu")


def patches(lengths: tuple[int, ...] = (3, 1, 2)) -> Examples:
    """Patches of takes that are each one long spectrogram of random numbers."""
    values = np.random.default_rng(0).normal(-2, 1, (sum(lengths), 96, 64)).astype(np.float16)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Takes(values, starts, np.arange(len(lengths)) % 2, 2).single()


def one_by_one(examples: Examples, batch: list[int], seed: int) -> tuple[FloatArray, FloatArray]:
    """What a batch becomes with shifts and mixup 0.2, the slow way."""
    rng = np.random.default_rng(seed)
    n = len(batch)
    later = rng.integers(0, 96, n)
    weights, partners = mixup.draw(n, 0.2, rng)
    shifted = []
    for number, by in zip(batch, later, strict=True):
        take = np.flatnonzero(examples.takes == examples.takes[number])
        spectrogram = np.concatenate(examples.values[take]).astype(np.float32)
        start = 96 * (number - take[0])
        start += by if number < take[-1] else 0
        shifted.append(spectrogram[start : start + 96])
    values, targets = [], []
    for i, j in enumerate(partners):
        values.append(weights[i] * shifted[i] + (1 - weights[i]) * shifted[j])
        one, other = (np.eye(2)[examples.labels[batch[k]]] for k in (i, j))
        targets.append(weights[i] * one + (1 - weights[i]) * other)
    return np.array(values), np.array(targets)


def test_shifting_and_mixing_equal_the_slow_way():
    examples, batch = patches(), [4, 0, 3, 2, 5, 1, 0]
    feed = Feed(examples, 0.2, True, CPU)
    (values,), targets = feed.step(np.array(batch), np.arange(7), np.random.default_rng(5))
    slow_values, slow_targets = one_by_one(examples, batch, 5)
    np.testing.assert_allclose(values.numpy(), slow_values, atol=1e-5)
    np.testing.assert_allclose(targets.numpy(), slow_targets, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.2])
@pytest.mark.parametrize("shift", [False, True])
def test_shares_are_parts_of_what_one_worker_gets(alpha, shift):
    feed, batch = Feed(patches(), alpha, shift, CPU), np.array([5, 1, 0, 4, 2])
    whole = feed.step(batch, np.arange(5), np.random.default_rng(3))
    for rank in range(2):
        mine = np.arange(rank, 5, 2)
        share = feed.step(batch, mine, np.random.default_rng(3))
        torch.testing.assert_close(share[0][0], whole[0][0][mine])
        torch.testing.assert_close(share[1], whole[1][mine])


def test_without_changes_examples_are_as_they_are_and_nothing_is_drawn():
    examples, rng = patches(), np.random.default_rng(1)
    feed = Feed(examples, 0.0, False, CPU)
    (values,), targets = feed.step(np.arange(6), np.arange(6), rng)
    np.testing.assert_array_equal(values.numpy(), examples.inputs(np.arange(6)))
    np.testing.assert_array_equal(targets.numpy(), examples.targets(np.arange(6)))
    assert rng.random() == np.random.default_rng(1).random()


def test_sequences_are_not_mixed():
    sequences = Takes(np.zeros((3, 4), np.float32), np.array([0, 1, 3]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="unequal length"):
        Feed(sequences.whole(), 0.2, False, CPU)
