"""What a file announces about its sound, before anything is decoded.

The announcement is held against what is there: bytes here, samples by ``held``. It is never
what decides how far a recording is decoded: headers that announce less than there is are corrected.
"""

import re
from collections.abc import Generator
from typing import Final, NamedTuple

from tagger import elements, ogg, payload
from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.recording import Reader

_FLAC_BEGINS: Final = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_BLOCK: Final = 1 << 20


class Promise(NamedTuple):
    """What a file announces.

    Attributes
    ----------
    broken : what is missing of it, as the end of a sentence; "" where nothing is known to be
    n_samples : how many samples per channel it has at least
    unfinished : as ``broken``, where no sample can be decoded
    is_for_ffmpeg : whether ffmpeg reads it better than libsndfile
    """

    broken: str = ""
    n_samples: int = 0
    unfinished: str = ""
    is_for_ffmpeg: bool = False


def read(reader: Reader) -> Promise:
    """What a file announces; lengths in it that are too small are read as the true ones."""
    if end := ogg.ending(reader):
        broken = "" if end.is_whole else "the last page is incomplete"
        unfinished = "" if end.is_marked else "the file ends before its first page of sound"
        return Promise(broken, unfinished=unfinished, is_for_ffmpeg=end.is_chained)
    if reader.read_at(0, 4) == b"fLaC":
        return _flac(reader)
    if (fault := payload.mend(reader)) is not None:
        return Promise(fault)
    n = elements.missing(reader)
    return Promise(f"the file is cut off, at least {n} bytes are missing") if n else Promise()


def _flac(reader: Reader) -> Promise:
    """A flac file says how many samples it has; a stream of unknown length, that there are 0."""
    place, size = 21, 5  # four bits of something else, 36 of the number
    field = reader.read_at(place, size)
    if reader.read_at(4, 1) not in (b"\x00", b"\x80") or len(field) < size:
        return Promise()
    reader.patch(place, bytes([field[0] & 0xF0, 0, 0, 0, 0]))
    n = int.from_bytes(field, "big") & (1 << 36) - 1
    return Promise(n_samples=n, is_for_ffmpeg=n == 0)


def flac_streams(reader: Reader) -> list[int]:
    """Where the streams of a flac file begin, which may be several; none in other files."""
    starts: list[int] = []
    if reader.read_at(0, 4) == b"fLaC":
        overlap = 7  # bytes; a beginning may lie across two blocks
        for place in range(0, reader.size, _BLOCK):
            block = reader.read_at(place, _BLOCK + overlap)
            starts.extend(place + match.start() for match in _FLAC_BEGINS.finditer(block))
    return starts


def held(
    blocks: Generator[FloatArray], promise: Promise, sample_rate_hz: int
) -> Generator[FloatArray]:
    """The decoded blocks; ends with a ``ClipError`` where they are not what was announced."""
    n = 0
    trouble: ClipError | None = None
    try:
        for block in blocks:
            n += len(block)
            yield block
    except ClipError as error:
        trouble = error
    finally:
        blocks.close()
    if problem := _problem(promise, n, sample_rate_hz):
        end = f"decoding stopped at {n / sample_rate_hz:.3f} s"
        raise ClipError(Reason.DECODE_ERROR, f"{end}: {problem}")
    if trouble:
        raise trouble


def _problem(promise: Promise, n: int, sample_rate_hz: int) -> str:
    if promise.broken:
        return promise.broken
    if n < promise.n_samples:
        return f"the header promises {promise.n_samples / sample_rate_hz:.3f} s"
    return "" if n else promise.unfinished
