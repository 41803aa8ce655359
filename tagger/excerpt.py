"""A stretch of a recording as if it were the recording: a clip of a longer one.

Channels are mixed after the cut, so what sounds beside the stretch makes no difference.
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import soundfile

from tagger.arrays import FloatArray
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason
from tagger.recording import Decoded, Mix, Reader, Source, block_length

_TOLERANCE_S: Final = 0.5  # by which a file of a stretch alone may be longer than the stretch
_SEEK_FROM_S: Final = 10.0  # before it, decoding from the start is as fast
_EXACT: Final = frozenset({"WAV", "WAVEX", "W64", "RF64", "AIFF", "FLAC"})
"""The containers in which libsndfile finds a sample by its number."""


@dataclass(frozen=True)
class Stretch:
    """Where a clip lies in its recording.

    Attributes
    ----------
    start_s : seconds from the recording's start
    end_s : likewise; None: the recording's end
    may_be_cut : whether a recording that is no longer than the stretch holds the stretch alone, as
        AudioSet's segments are often kept
    """

    start_s: float = 0.0
    end_s: float | None = None
    may_be_cut: bool = False


def decode_stretch(source: Source, mix: Mix, track: int | None, stretch: Stretch) -> Decoded:
    """Decode a recording from ``start_s`` to ``end_s``; what lies behind is not decoded.

    Parameters
    ----------
    source, mix, track : as of ``decode_blocks``

    Raises
    ------
    ClipError : as of ``decode_blocks``; ``EMPTY`` where the recording ends before the stretch
    OSError : the source itself cannot be read
    """
    cut = None if stretch.may_be_cut else _sought(source, track, stretch)
    if cut is None:
        cut = excerpt(decode_blocks(source, _all_channels, track), stretch)
    return cut._replace(blocks=_mixed(cut.blocks, mix))


def excerpt(recording: Decoded, stretch: Stretch) -> Decoded:
    """The stretch of a recording that is decoded from its start.

    The blocks end with a ``ClipError`` for ``EMPTY`` where the recording ends before the stretch.
    """
    blocks = _from_to(recording, stretch)
    if stretch.may_be_cut and stretch.end_s is not None:
        blocks = _unless_cut(recording, stretch, stretch.end_s - stretch.start_s)
    return recording._replace(blocks=blocks)


def _sought(source: Source, track: int | None, stretch: Stretch) -> Decoded | None:
    """The stretch read from where it begins; None where that may not give the very samples."""
    if stretch.start_s < _SEEK_FROM_S or track is not None:
        return None
    reader = Reader(source)
    try:
        sound = soundfile.SoundFile(reader)
        first = round(stretch.start_s * sound.samplerate)
        last = _last(stretch, sound.samplerate, sound.frames)
        exact = sound.format in _EXACT and first < last <= sound.frames
        if exact and sound.seek(first) == first:
            return Decoded(sound.samplerate, sound.channels, _read(sound, reader, last - first))
    except soundfile.LibsndfileError:
        pass
    reader.check()
    reader.close()
    return None


def _read(sound: soundfile.SoundFile, reader: Reader, n_left: int) -> Generator[FloatArray]:
    length = block_length(sound.samplerate, sound.channels)
    with closing(reader), sound:
        while n_left > 0:
            try:
                block = sound.read(min(length, n_left), np.float32, always_2d=True)
            except soundfile.LibsndfileError as error:
                raise ClipError(Reason.DECODE_ERROR, " ".join(str(error).split())) from None
            reader.check()
            if not len(block):
                raise ClipError(Reason.DECODE_ERROR, "the recording ends before its header says")
            n_left -= len(block)
            yield block


def _last(stretch: Stretch, rate_hz: int, n_samples: int) -> int:
    return n_samples if stretch.end_s is None else round(stretch.end_s * rate_hz)


def _all_channels(samples: FloatArray) -> FloatArray:
    return samples


def _mixed(blocks: Generator[FloatArray], mix: Mix) -> Generator[FloatArray]:
    with closing(blocks):
        for block in blocks:
            yield mix(block)


def _from_to(recording: Decoded, stretch: Stretch) -> Generator[FloatArray]:
    rate = recording.sample_rate_hz
    first = round(stretch.start_s * rate)
    last = None if stretch.end_s is None else round(stretch.end_s * rate)
    position = 0
    with closing(recording.blocks) as blocks:
        for block in blocks:
            piece = block[max(0, first - position) : None if last is None else last - position]
            position += len(block)
            if len(piece):
                yield piece
            if last is not None and position >= last:
                return
    if position <= first:
        raise ClipError(
            Reason.EMPTY,
            f"the recording ends at {position / rate:.3f} s, and its clip begins at "
            f"{stretch.start_s:.3f} s",
        )


def _unless_cut(recording: Decoded, stretch: Stretch, length_s: float) -> Generator[FloatArray]:
    """All of a recording that is no longer than its stretch; else the stretch."""
    most = round((length_s + _TOLERANCE_S) * recording.sample_rate_hz)
    held: list[FloatArray] = []
    with closing(recording.blocks) as blocks:
        try:
            while sum(map(len, held)) <= most:
                held.append(next(blocks))
        except StopIteration:
            yield from held
            return
        except ClipError:
            yield from held
            raise
        whole = recording._replace(blocks=_chained(held, blocks))
        yield from _from_to(whole, stretch)


def _chained(held: Iterable[FloatArray], rest: Iterable[FloatArray]) -> Generator[FloatArray]:
    yield from chain(held, rest)
