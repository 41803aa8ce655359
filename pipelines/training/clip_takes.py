"""The takes of one clip: which copies it gets, and the patches of each (sections 3.1 and 3.2).

Nothing here knows a work folder or Ray.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipelines.training.jobs import PrepareJob
from tagger import audio, augment, logmel, sampling
from tagger.arrays import FloatArray
from tagger.excerpt import Stretch
from tagger.logmel import PATCH_HOP, PATCH_LENGTH


@dataclass(frozen=True)
class Take:
    """A clip as it is, or one copy of it.

    Attributes
    ----------
    copy : 0 for the clip itself, else the number of the copy
    n_semitones : how far it is shifted
    offset : samples at 16 kHz that are left out at the start
    """

    copy: int
    n_semitones: int
    offset: int


def takes_of(name: str, n_copies: int, job: PrepareJob) -> list[Take]:
    """The clip as it is, and its copies; they follow from the clip's name and the seed alone."""
    takes = [Take(0, 0, 0)]
    for copy in range(1, n_copies + 1):
        digest = hashlib.sha256(f"{job.seed}/offset/{copy}/{name}".encode()).digest()
        offset = int.from_bytes(digest[:8]) % PATCH_HOP if job.shift_start else 0
        shift = sampling.draw_semitones(name, copy, job.seed, job.most_semitones)
        takes.append(Take(copy, shift, offset))
    return takes


def decode_takes(
    source: bytes | BinaryIO,
    takes: Sequence[Take],
    max_hours: float,
    stretch: Stretch | None = None,
) -> Iterator[FloatArray]:
    """Patches (n, 96, 64) float32 of each take, of one decoding; runs in the isolated process.

    Parameters
    ----------
    stretch : of the recording, which is the clip; None: the whole of it

    Raises
    ------
    ClipError : the clip cannot be used
    """
    signal, waveform = audio.original(source, max_hours, stretch)
    for take in takes:
        if take.n_semitones:
            shifted = augment.pitch_shift(waveform, signal.sample_rate_hz, take.n_semitones)
            peak = np.abs(shifted).max()
            at_16_khz = shifted / peak if peak > 0 else shifted
        else:  # as ``tag`` does it
            at_16_khz = np.concatenate([*audio.resampled([waveform], signal.sample_rate_hz)])
        yield logmel.patches(at_16_khz[_start(take, len(at_16_khz)) :])


def _start(take: Take, n_samples: int) -> int:
    """Where the take starts: as drawn, unless that would leave less than a patch."""
    return min(take.offset, max(0, n_samples - PATCH_LENGTH))
