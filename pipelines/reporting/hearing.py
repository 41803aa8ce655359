"""Recordings decoded to be seen and heard, in a process apart, as ``tag`` decodes them.

Samples are those of the mono signal that the model heard, at the recording's own rate: untrimmed,
so that times are those of the tables, and not normalised.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from pipelines.inputs.access import Access
from pipelines.inputs.reading import open_clip
from pipelines.runtime.isolation import Isolated
from pipelines.runtime.limits import Limits
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.uris import is_local, recording_uri
from tagger.arrays import FloatArray
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason
from tagger.levels import CANCELLED
from tagger.recording import mono

_HOUR_S: Final = 3600.0


class Clip(NamedTuple):
    """A row of ``clips``: what finding its recording and decoding it takes."""

    clip_id: str
    uri: str
    version: str
    size_bytes: int
    duration_s: float
    peak: float
    notes: str | None


@dataclass(frozen=True)
class Sound:
    """Samples of a recording.

    Attributes
    ----------
    samples : (n,) float32, mono
    """

    samples: FloatArray
    sample_rate_hz: int


def decode(
    source: bytes | BinaryIO, track: int | None, end_s: float, loudest: bool
) -> Iterator[int | FloatArray]:
    """The sample rate, then blocks of (n,) float32 until ``end_s``; runs in the isolated process.

    Parameters
    ----------
    track : number, from 1, of the audio track; None: the container's default
    loudest : the channels cancel each other, so the loudest of each block stands for all
    """
    rate, _, blocks = decode_blocks(source, _loudest if loudest else mono, track)
    n_left = round(end_s * rate)
    with closing(blocks):
        yield rate
        for block in blocks:
            yield block[:n_left]
            n_left -= len(block)
            if n_left <= 0:
                return


def _loudest(samples: FloatArray) -> FloatArray:
    return samples[:, np.square(samples).sum(axis=0).argmax()]


class Listener:
    """Decodes recordings; owns the process in which that is done.

    Parameters
    ----------
    access : how recordings are read
    track : number, from 1, of the audio track that the output is of; None: the container's default
    """

    def __init__(self, limits: Limits, access: Access, track: int | None = None) -> None:
        self._limits = limits
        self._access = access
        self._track = track
        self._isolated = Isolated(limits.clip_timeout_s, limits.clip_memory_mb << 20)
        self._silent_stores: dict[str, Exception] = {}

    def stretches(self, clip: Clip, spans: Sequence[tuple[float, float]]) -> list[Sound]:
        """The parts of a recording from one second to another each, decoded in one pass.

        A part of a recording that breaks off is as long as there are samples.

        Raises
        ------
        ClipError : it is gone, has changed, cannot be read, or cannot be decoded
        """
        blocks = self.blocks(clip, max(end_s for _, end_s in spans))
        rate = next(blocks)
        assert isinstance(rate, int)
        parts: list[list[FloatArray]] = [[np.empty(0, np.float32)] for _ in spans]
        at = 0
        for block in blocks:
            assert isinstance(block, np.ndarray)
            for part, (start_s, end_s) in zip(parts, spans, strict=True):
                first, last = round(start_s * rate) - at, round(end_s * rate) - at
                part.append(block[max(0, first) : max(0, last)])
            at += len(block)
        return [Sound(np.concatenate(part), rate) for part in parts]

    def blocks(self, clip: Clip, end_s: float) -> Generator[int | FloatArray]:
        """The sample rate, then the blocks of a recording until ``end_s``, some seconds each.

        Raises
        ------
        ClipError : as of ``stretches``; a recording that breaks off ends without one
        """
        uri = recording_uri(clip.clip_id, clip.uri, clip.version)
        track = int(clip.uri.rpartition("=")[2]) if uri != clip.uri else self._track
        store = uri if is_local(uri) else "/".join(uri.split("/")[:3])
        if store in self._silent_stores:
            raise _unreadable(self._silent_stores[store])
        try:
            opened = open_clip(uri, clip.version, clip.size_bytes, access=self._access)
            with opened as source:
                loudest = CANCELLED in (clip.notes or "")
                items = self._isolated.run(decode, source, track, end_s, loudest)
                yield from self._until_it_breaks(items, clip.duration_s)
        except (AccessDenied, StoreUnavailable) as error:
            self._silent_stores[store] = error
            raise _unreadable(error) from error

    def _until_it_breaks(
        self, items: Iterator[int | FloatArray], duration_s: float
    ) -> Generator[int | FloatArray]:
        yield next(items)
        self._isolated.allow(duration_s / _HOUR_S * self._limits.clip_timeout_s)
        any_yet = False
        try:
            for block in items:
                yield block
                any_yet = True
        except ClipError as error:
            if error.reason is not Reason.DECODE_ERROR or not any_yet:
                raise

    def close(self) -> None:
        """End the process that decodes."""
        self._isolated.close()


def _unreadable(error: Exception) -> ClipError:
    return ClipError(Reason.UNREADABLE, str(error))
