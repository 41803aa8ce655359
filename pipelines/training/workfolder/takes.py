"""Takes in memory: one array of patches or embeddings, which all networks of a process index.

A *take* is a clip as it is (copy 0), or one pitch-shifted copy of it (``tagger.examples``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.training.splits import Parts
from tagger.arrays import IndexArray, RealArray
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.examples import PADDING, Examples, Takes


class ShardTakes(NamedTuple):
    """The takes of one shard, n of them: their values lie one after the other.

    Attributes
    ----------
    clips, copies : (n,) int64
    lengths : (n,) int64 how many values each has
    values : (sum of lengths, ...) an array of its own, no view of a larger one
    """

    clips: IndexArray
    copies: IndexArray
    lengths: IndexArray
    values: RealArray


@dataclass(frozen=True)
class LoadedTakes:
    """Takes of several shards, n of them.

    Attributes
    ----------
    takes : the values of all of them
    clips : (n,) int64 the clip of each, a row of ``Dataset.clips``
    copies : (n,) int64 0 for the clip itself, else the number of the copy
    """

    takes: Takes
    clips: IndexArray
    copies: IndexArray

    def select(self, examples: Examples, clips: IndexArray, copies: int) -> Examples:
        """The examples of some clips and of at most so many copies of each.

        Parameters
        ----------
        examples : made of ``takes``; their values are shared, their numbers of takes kept

        Raises
        ------
        CommandError : there are none
        """
        takes = np.flatnonzero(np.isin(self.clips, clips) & (self.copies <= copies))
        rows = np.flatnonzero(np.isin(examples.takes, takes))
        if not len(rows):
            raise CommandError("none of the clips could be prepared: see the failures")
        index = examples.index[rows]
        if examples.sequences:  # padded to the longest of these
            index = index[:, : (index != PADDING).sum(1).max()]
        return replace(
            examples, index=index, labels=examples.labels[rows], takes=examples.takes[rows]
        )

    def divide(
        self, examples: Examples, parts: Parts, copies: int
    ) -> tuple[Examples, Examples | None]:
        """The examples to train on, copies included, and those to validate on, if any."""
        train = self.select(examples, parts.train, copies)
        if not len(parts.validation):
            return train, None
        return train, self.select(examples, parts.validation, 0)


def join(dataset: Dataset, shards: Iterable[ShardTakes]) -> LoadedTakes:
    """The takes of all shards in one array.

    A shard's values are dropped as soon as they are copied, so that memory holds them once.

    Raises
    ------
    CommandError : there are no values at all
    """
    parts = list(shards)
    values = [part.values for part in parts]
    clips = np.concatenate([part.clips for part in parts])
    copies = np.concatenate([part.copies for part in parts])
    lengths = np.concatenate([part.lengths for part in parts])
    del parts
    if not lengths.sum():
        raise CommandError("none of the clips could be prepared: see the failures")
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    labels = dataset.truth()[clips]
    takes = Takes(_joined(values), starts, labels, len(dataset.labels))
    return LoadedTakes(takes, clips, copies)


def _joined(parts: list[RealArray]) -> RealArray:
    """``np.concatenate``, which empties the list on its way."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole
