"""Masking: training on patches of which some frames and some bands are hidden (SpecAugment).

Park et al. 2019, "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition",
without its time warping: one mask over time and one over frequency for each patch, and the mean of
the patch in the place of what is hidden. No part of the paper; for the training of extractors on
few clips.

Drawing and applying are two functions, as in ``mixup``.
"""

import numpy as np
import torch
from torch import Tensor

from tagger.arrays import BoolArray


def draw(n_examples: int, size: int, longest: int, rng: np.random.Generator) -> BoolArray:
    """One mask along one axis for each example.

    Parameters
    ----------
    size : of the axis
    longest : the length of a mask is uniform from 0 to this, and its place is uniform too
    rng : source of the random numbers

    Returns
    -------
    (n_examples, size) bool, true in one stretch of each row, which may be empty
    """
    length = rng.integers(0, longest, n_examples, endpoint=True)[:, None]
    start = rng.integers(0, size - length, endpoint=True)
    place = np.arange(size)
    mask: BoolArray = (start <= place) & (place < start + length)
    return mask


def apply(patches: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """The patches with their mean in the place of what is masked.

    Parameters
    ----------
    patches : (n, n_frames, n_bands) float32
    frames, bands : (n, n_frames) and (n, n_bands) bool, from ``draw``, on the same device
    """
    hidden = frames[:, :, None] | bands[:, None, :]
    return torch.where(hidden, patches.mean((1, 2), keepdim=True), patches)
