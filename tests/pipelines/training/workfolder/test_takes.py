"""Takes of several shards in one array, and the examples of some of them."""

import numpy as np
import pandas as pd
import pytest

from pipelines.training.splits import Parts
from pipelines.training.workfolder.takes import ShardTakes, join
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.labels import LabelSet

ROWS = np.array([], np.int64)


def dataset(n: int = 6) -> Dataset:
    """Clips of classes a and b in turn."""
    labels = [*"ab"] * (n // 2)
    clips = pd.DataFrame({"name": [f"{i}" for i in range(n)], "label": labels})
    return Dataset("csv", LabelSet.of("ab"), clips)


def shard(clips: list[int], copies: list[int], lengths: list[int]) -> ShardTakes:
    """Values tell their take: (clip, copy, place)."""
    values = [
        (clip, copy, place)
        for clip, copy, n in zip(clips, copies, lengths, strict=True)
        for place in range(n)
    ]
    arrays = (np.array(part, np.int64) for part in (clips, copies, lengths))
    return ShardTakes(*arrays, np.array(values, np.float32).reshape(-1, 3))


@pytest.fixture
def loaded():
    """Clip 3 could not be prepared; an empty shard lies between the two others."""
    return join(
        dataset(),
        [shard([0, 0, 1, 2], [0, 1, 0, 0], [2, 1, 3, 1]), shard([], [], []), shard([4], [0], [2])],
    )


def values(examples) -> list[list[float]]:
    return examples.inputs(np.arange(len(examples))).tolist()


def test_values_of_all_shards_lie_one_after_the_other(loaded):
    assert loaded.clips.tolist() == [0, 0, 1, 2, 4]
    assert loaded.copies.tolist() == [0, 1, 0, 0, 0]
    assert loaded.takes.starts.tolist() == [0, 2, 3, 6, 7, 9]
    assert loaded.takes.labels.tolist() == [0, 0, 1, 0, 0]
    assert loaded.takes.values[[0, 2, 7]].tolist() == [[0, 0, 0], [0, 1, 0], [4, 0, 0]]


def test_examples_of_some_clips_share_the_values(loaded):
    every = loaded.takes.single()
    some = loaded.select(every, np.array([0, 3, 4]), copies=0)
    assert values(some) == [[0, 0, 0], [0, 0, 1], [4, 0, 0], [4, 0, 1]]
    assert some.labels.tolist() == [0, 0, 0, 0]
    assert np.shares_memory(some.values, loaded.takes.values)
    assert values(loaded.select(every, np.array([0]), copies=1))[2] == [0, 1, 0]


def test_bags_and_sequences_are_those_of_the_clips_alone(loaded):
    """A sequence is padded to the longest that was selected, not to the longest of all."""
    clips = np.array([0, 4])
    bags = loaded.select(loaded.takes.bags(2), clips, copies=0)
    assert bags.index.tolist() == [[0, 1], [7, 8]]
    sequences = loaded.select(loaded.takes.whole(), clips, copies=1)
    assert sequences.index.tolist() == [[0, 1], [2, -1], [7, 8]]
    assert sequences.lengths(np.arange(3)).tolist() == [2, 1, 2]


def test_copies_train_and_never_validate(loaded):
    parts = Parts(np.array([0, 1]), np.array([2, 4]), ROWS, "t")
    train, validation = loaded.divide(loaded.takes.single(), parts, copies=1)
    assert np.unique(train.takes).tolist() == [0, 1, 2]
    assert np.unique(validation.takes).tolist() == [3, 4]
    _, validation = loaded.divide(loaded.takes.single(), Parts(parts.train, ROWS, ROWS, "t"), 1)
    assert validation is None


def test_clips_that_all_failed_are_told(loaded):
    with pytest.raises(CommandError, match="could be prepared"):
        loaded.select(loaded.takes.single(), np.array([3]), copies=9)
    with pytest.raises(CommandError, match="could be prepared"):
        join(dataset(), [shard([], [], [])])
