"""What a network learns from at one step: the examples of a batch, changed as asked, and targets.

Examples are gathered, shifted if asked, and mixed (paper section 3.3). Everything random is drawn
for the whole batch, so that each of several workers gets its share of what one alone would.
"""

import numpy as np
import torch
from torch import Tensor

from tagger import mixup
from tagger.arrays import IndexArray
from tagger.examples import Examples
from tagger.logmel import PATCH_FRAMES
from tagger.prediction import inputs

Step = tuple[tuple[Tensor, ...], Tensor]
"""Inputs of the network, and targets (n, n_classes)."""


class Feed:
    """Makes inputs and targets of batches.

    Parameters
    ----------
    examples : what the numbers of a batch mean
    alpha : of mixup; 0: none
    shift : cut patches later than they lie, at places drawn anew; the paper does not
    device : of the tensors

    Raises
    ------
    ValueError : mixup of sequences
    """

    def __init__(self, examples: Examples, alpha: float, shift: bool, device: torch.device) -> None:
        if alpha and examples.sequences:
            raise ValueError("sequences of unequal length cannot be mixed")
        self._examples, self._alpha, self._shift = examples, alpha, shift
        self._device = device

    def step(self, batch: IndexArray, mine: IndexArray, rng: np.random.Generator) -> Step:
        """Inputs and targets of one worker's share of a batch.

        Parameters
        ----------
        batch : (n,) int64 numbers of the examples
        mine : (m,) int64 places in the batch that are this worker's
        rng : the same for all workers
        """
        later = self._draw_shifts(len(batch), rng)
        if not self._alpha:
            return self._gathered(batch[mine], later[mine])
        share, partners = mixup.draw(len(batch), self._alpha, rng)
        # The pairs of this worker's share: its examples, then their partners.
        both = np.concatenate([mine, partners[mine]])
        (values,), targets = self._gathered(batch[both], later[both])
        n = len(mine)
        weights = torch.from_numpy(np.tile(share[mine], 2)).to(self._device)
        swapped = torch.arange(2 * n, device=self._device).roll(n)
        mixed, labels = (mixup.apply(each, weights, swapped)[:n] for each in (values, targets))
        return (mixed,), labels

    def _draw_shifts(self, n: int, rng: np.random.Generator) -> IndexArray:
        """By how many frames each example of a batch is cut later."""
        return rng.integers(0, PATCH_FRAMES, n) if self._shift else np.zeros(n, np.int64)

    def _gathered(self, which: IndexArray, later: IndexArray) -> Step:
        targets = torch.from_numpy(self._examples.targets(which)).to(self._device)
        if not self._shift:
            return inputs(self._examples, which, self._device), targets
        values = torch.from_numpy(self._examples.shifted(which, later))
        return (values.to(self._device),), targets
