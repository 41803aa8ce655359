"""Which clips a training batch holds, and which clips get pitch-shifted copies.

Nothing here touches audio: these functions draw indices and parameters, others apply them.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from tagger.arrays import IndexArray, LabelArray

SEMITONES: Final = tuple(n for n in range(-12, 13) if n != 0)
"""The shifts to draw from: "a integer number between (-12, 12)" (section 3.2), none of them 0."""


def balanced(labels: LabelArray, rng: np.random.Generator) -> Iterator[IndexArray]:
    """Batches that hold exactly one clip of each class (section 2.2, "balanced").

    Every class goes round through shuffles of its own; an epoch ends when the largest class has
    been used up once, so the clips of small classes come more often.

    Where clips have several labels, each draws for its own label, as the mini-batch balancing of
    PANNs does (Kong et al. 2020). So a clip may stand in a batch for each of its labels, and clips
    without labels are drawn as if they were a class.

    Parameters
    ----------
    labels : class numbers (n_clips,), or label sets (n_clips, K)
    rng : source of the random numbers

    Yields
    ------
    (n_classes,) int64 numbers of clips, in the order of the classes that there are
    """
    clips_of = _clips_of(labels)
    n_batches = max((len(clips) for clips in clips_of), default=0)
    rounds = [_shuffles(clips, n_batches, rng) for clips in clips_of]
    for batch in range(n_batches):
        yield np.array([clips[batch] for clips in rounds], np.int64)


def _clips_of(labels: LabelArray) -> list[IndexArray]:
    """The clips of each class that has any; last those without labels."""
    if labels.ndim == 1:
        return [np.flatnonzero(labels == label) for label in np.unique(labels)]
    members = [*labels.T, ~labels.any(1)]
    return [np.flatnonzero(of_class) for of_class in members if of_class.any()]


def _shuffles(clips: IndexArray, length: int, rng: np.random.Generator) -> IndexArray:
    """Shuffles of ``clips`` end to end, cut to ``length``."""
    n_rounds = -(-length // len(clips))
    return np.concatenate([rng.permutation(clips) for _ in range(n_rounds)])[:length]


def unbalanced(n_clips: int, batch_size: int, rng: np.random.Generator) -> Iterator[IndexArray]:
    """Batches of clips drawn at random (section 2.2, "unbalanced"): each clip once per epoch.

    Parameters
    ----------
    n_clips, batch_size : the size is met on average, so that no batch is a small rest
    rng : source of the random numbers

    Yields
    ------
    (n,) int64 numbers of clips
    """
    n_batches = max(1, round(n_clips / batch_size))
    yield from (part for part in np.array_split(rng.permutation(n_clips), n_batches) if len(part))


def copies_needed(labels: LabelArray) -> IndexArray:
    """How many pitch-shifted copies of each clip raise its class to the largest (section 3.2).

    Within a class the copies are spread evenly. Where their number does not divide by that of the
    clips, the first clips get one more. Of clips with several labels a copy counts for each of
    them; the smallest classes come first, and the larger ones need what is still missing then.

    Parameters
    ----------
    labels : class numbers (n_clips,), or label sets (n_clips, K)

    Returns
    -------
    (n_clips,) int64
    """
    clips_of = _clips_of(labels)
    largest = max(map(len, clips_of), default=0)
    copies = np.zeros(len(labels), np.int64)
    for clips in sorted(clips_of, key=len):
        missing = max(0, largest - len(clips) - copies[clips].sum())
        each, more = divmod(missing, len(clips))
        copies[clips] += each + (np.arange(len(clips)) < more)
    return copies


def draw_semitones(clip_id: str, copy: int, seed: int, most: int = 12) -> int:
    """The shift of one copy of a clip: uniform in [-most, most] without 0.

    It depends on the arguments alone, not on order, machine or library version. The copies of one
    clip differ from each other until all shifts are used.

    Parameters
    ----------
    clip_id : a name of the clip that is the same on every machine
    copy : number of the copy, from 1
    seed : one seed for the whole data set
    most : largest shift in semitones, 1 to 12; the paper's is 12
    """

    def place(semitones: int) -> bytes:
        return hashlib.sha256(f"{seed}/{semitones}/{clip_id}".encode()).digest()

    shifts = sorted((n for n in SEMITONES if abs(n) <= most), key=place)
    return shifts[(copy - 1) % len(shifts)]
