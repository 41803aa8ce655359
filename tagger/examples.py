"""What networks learn from: examples gathered from one large array (paper sections 2.2 and 3.4).

An example is some rows of ``values``: one patch for an extractor, one bag of embeddings for an
attention head, a clip's embeddings for an LSTM, some frames for the DCASE baseline. Every example
belongs to a *take*: a clip as it is, or one pitch-shifted copy of it (PAPER.md D22). The word is
used in no other sense.

Conventions: takes are numbered from 0 and their values lie one after the other; ``starts`` is
(n_takes + 1,) int64, take i being ``values[starts[i]:starts[i + 1]]``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tagger import sampling
from tagger.arrays import FloatArray, IndexArray, LabelArray, RealArray
from tagger.configs import Batches
from tagger.labels import Labelling
from tagger.segments import bags

PADDING: Final = -1  # in ``Examples.index``: no row, read as zeros


@dataclass(frozen=True)
class Examples:
    """Examples with their labels, in the order of their takes.

    Attributes
    ----------
    values : (n_values, ...) float16 or float32
    index : (n_examples,) or (n_examples, length) int64 rows of ``values``, ``PADDING`` at the end
        of sequences shorter than the longest
    labels : class numbers (n_examples,) int64, or label sets (n_examples, n_classes) bool
    takes : (n_examples,) int64, which take each belongs to; ascending
    n_classes : how many classes there are
    sequences : whether examples differ in length, so that a network needs ``lengths`` too
    """

    values: RealArray
    index: IndexArray
    labels: LabelArray
    takes: IndexArray
    n_classes: int
    sequences: bool = False

    def __len__(self) -> int:
        return len(self.index)

    def inputs(self, which: IndexArray) -> FloatArray:
        """The examples of the numbers ``which``, (n, ...) float32; zeros where there is padding."""
        index = self.index[which]
        gathered = self.values[index].astype(np.float32)
        gathered[index == PADDING] = 0.0
        return gathered

    def shifted(self, which: IndexArray, later: IndexArray) -> FloatArray:
        """As ``inputs``, but cut later from values that follow each other without a gap.

        Only for examples of one value each. The last of a take has none after it and stays.

        Parameters
        ----------
        which : (n,) int64 numbers of the examples
        later : (n,) int64 by how many rows of a value, from 0 to less than it has
        """
        last = np.append(self.takes[1:] != self.takes[:-1], True)[which]
        following = np.where(last, which, which + 1)
        later = np.where(last, 0, later)
        pairs = np.concatenate([self.inputs(which), self.inputs(following)], axis=1)
        rows = later[:, None] + np.arange(self.values.shape[1])
        cut: FloatArray = pairs[np.arange(len(which))[:, None], rows]
        return cut

    def lengths(self, which: IndexArray) -> IndexArray:
        """How many rows of each of the examples ``which`` are no padding, (n,) int64."""
        lengths: IndexArray = (self.index[which] != PADDING).sum(-1)
        return lengths

    @property
    def labelling(self) -> Labelling:
        """Whether a clip has one label or several."""
        return "one" if self.labels.ndim == 1 else "several"

    def targets(self, which: IndexArray) -> FloatArray:
        """Labels of the examples ``which`` as (n, n_classes) float32 of 0 and 1."""
        labels = self.labels[which]
        if self.labelling == "one":
            return np.eye(self.n_classes, dtype=np.float32)[labels]
        sets: FloatArray = labels.astype(np.float32)
        return sets


@dataclass(frozen=True)
class Takes:
    """Clips and their copies, laid out as the module says.

    Attributes
    ----------
    values : (n_values, ...) patches or embeddings, float16 or float32
    starts : (n_takes + 1,) int64
    labels : class numbers (n_takes,) int64, or label sets (n_takes, n_classes) bool
    n_classes : how many classes there are
    """

    values: RealArray
    starts: IndexArray
    labels: LabelArray
    n_classes: int

    def single(self) -> Examples:
        """Every value an example of its own."""
        return self._examples(lambda n: np.arange(n, dtype=np.int64))

    def bags(self, n_segments: int) -> Examples:
        """Bags of consecutive segments, as ``segments.bags`` makes them."""
        return self._examples(lambda n: bags(n, n_segments))

    def whole(self) -> Examples:
        """Each take one sequence, padded to the longest."""
        longest = int(np.diff(self.starts).max())

        def padded(n: int) -> IndexArray:
            rows = np.arange(longest, dtype=np.int64)[None]
            return np.where(rows < n, rows, PADDING)

        return replace(self._examples(padded), sequences=True)

    def windows(self, length: int, hop: float) -> Examples:
        """Whole windows of ``length`` consecutive values, one every ``hop``.

        A window begins at its multiple of ``hop`` rounded down. Every take has ``length`` values
        at least.
        """

        def windowed(n: int) -> IndexArray:
            n_windows = max(1, 1 + int((n - length) // hop))
            first = (np.arange(n_windows) * hop).astype(np.int64)
            return first[:, None] + np.arange(length, dtype=np.int64)

        return self._examples(windowed)

    def _examples(self, index_of: Callable[[int], IndexArray]) -> Examples:
        """Examples of all takes.

        Parameters
        ----------
        index_of : the examples of a take of n values, as rows counted from its first
        """
        made: dict[int, IndexArray] = {}
        parts = []
        for start, n in zip(self.starts[:-1], np.diff(self.starts), strict=True):
            if n not in made:
                made[n] = index_of(int(n))
            parts.append(np.where(made[n] == PADDING, PADDING, made[n] + start))
        counts = [len(part) for part in parts]
        takes = np.repeat(np.arange(len(parts)), counts)
        return Examples(
            self.values, np.concatenate(parts), self.labels[takes], takes, self.n_classes
        )


def batches(
    examples: Examples, kind: Batches, size: int, rng: np.random.Generator
) -> Iterator[IndexArray]:
    """The batches of one epoch.

    Parameters
    ----------
    kind : ``balanced`` one take of each class; ``unbalanced`` ``size`` takes drawn at random, both
        with all their examples; ``examples`` about ``size`` examples of any takes
    size : of a batch; it is met on average, so that no batch is a small rest
    rng : source of the random numbers

    Yields
    ------
    (n,) int64 numbers of examples
    """
    if kind == "examples":
        n = len(examples)
        yield from np.array_split(rng.permutation(n), max(1, round(n / size)))
        return
    first = np.searchsorted(examples.takes, np.unique(examples.takes))
    labels, ends = examples.labels[first], np.append(first[1:], len(examples))
    drawn = (
        sampling.balanced(labels, rng)
        if kind == "balanced"
        else sampling.unbalanced(len(labels), size, rng)
    )
    for takes in drawn:
        yield np.concatenate([np.arange(first[v], ends[v]) for v in takes])
