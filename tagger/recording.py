"""A recording: where its bytes are read from, and the mono blocks that they decode to.

Both decoders, soundfile's (``tagger.decoding``) and ffmpeg's (``tagger.ffmpeg``), read and give
what is declared here.
"""

import io
import os
from collections.abc import Callable, Generator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason

Source = bytes | str | Path | BinaryIO
"""A recording: its bytes, the path of a local file, or a seekable binary file object."""

Mix = Callable[[FloatArray], FloatArray]
"""Makes (n,) float32 of (n, channels): called for each block, in order."""

NOT_AUDIO: Final = "not audio, or of an unknown kind"
"""The detail of a failure where a decoder knows nothing of a recording."""

_BLOCK_S: Final = 10.0
_MAX_BLOCK_VALUES: Final = 2**22  # samples times channels, 16 MiB

_SOUNDFILE: Final = (
    ".wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp1 .mp2 .mp3 .mpga .aif .aiff .aifc"
    " .au .snd .caf .voc .sph .nist .ircam .sf .paf .iff .svx .8svx .avr .pvf .sds .wve .xi .htk"
)
_PYAV: Final = (
    ".m4a .m4b .m4r .aac .adts .ac3 .eac3 .ec3 .dts .thd .mlp .wma .asf .weba .mka .amr .awb .ape"
    " .wv .tta .tak .mpc .shn .gsm .ra .rm .dsf .dff .oma .dss .mp4 .m4v .mov .qt .mkv .webm .avi"
    " .wmv .flv .f4v .mpg .mpeg .vob .ts .mts .m2ts .ogv .3gp .3g2 .mxf"
)
AUDIO_SUFFIXES: Final = frozenset(f"{_SOUNDFILE} {_PYAV}".split())
"""Suffixes, in lower case, of the audio and video files that soundfile and PyAV read."""


class Decoded(NamedTuple):
    """A recording that is being decoded.

    Attributes
    ----------
    sample_rate_hz, channels : of the recording
    blocks : yields (n,) float32, the channels as ``Mix`` makes one of them, about 10 s at a time;
        (n, channels) inside the decoders. Where the recording is damaged it ends with a
        ``ClipError`` for ``DECODE_ERROR``, after everything that could be decoded.
    """

    sample_rate_hz: int
    channels: int
    blocks: Generator[FloatArray]


class Reader:
    """A source as the decoders read it: a binary file without a name, whose failures are kept.

    What surrounds the recording can be left out (``narrow``), and a header that lies be read as it
    should have been written (``patch``).

    An exception inside libsndfile's callbacks would be printed and forgotten, and the recording
    blamed for an outage of the store; ``check`` raises it where it can be seen.

    Parameters
    ----------
    source : read from its start; opened here if it is a path or bytes

    Attributes
    ----------
    size : of the recording in bytes

    Raises
    ------
    OSError : on construction, where it cannot be opened
    """

    def __init__(self, source: Source) -> None:
        self._opened = isinstance(source, bytes | str | Path)
        self._file = _open(source)
        self.size = self._file.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._start = 0  # of the recording in the file
        self._at = 0  # the place that is read next; the file's own tell costs a system call
        self._patches: list[tuple[int, bytes]] = []
        self._failure: OSError | None = None

    def narrow(self, start: int, end: int) -> None:
        """Leave out what lies before ``start`` and from ``end`` on; both in bytes."""
        self._patches = [(at - start, data) for at, data in self._patches]
        self._start += start
        self.size = end - start
        self.seek(0)

    def part(self, start: int, end: int) -> "Reader":
        """The bytes from ``start`` to ``end`` as a recording of their own."""
        part = Reader(self._file)
        part.narrow(self._start + start, self._start + end)
        return part

    def patch(self, at: int, data: bytes) -> None:
        """Read ``data`` at a place instead of what is there."""
        self._patches.append((at, data))

    def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes; none after a failure."""
        left = max(0, self.size - self._at)
        try:
            data = self._file.read(left if n < 0 else min(n, left))
        except OSError as error:
            self._failure = self._failure or error
            return b""
        self._at += len(data)
        return self._patched(data, self._at - len(data)) if self._patches else data

    def read_at(self, at: int, n: int) -> bytes:
        """At most ``n`` bytes from a place on."""
        self.seek(at)
        return self.read(n)

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer as far as there are bytes; how many there were."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, or to the start or end where there is no such place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        # Broken headers ask for places before the start and far beyond the end.
        self._at = min(max(0, base + offset), self.size)
        self._file.seek(self._start + self._at)
        return self._at

    def tell(self) -> int:
        """The place that is read next, in bytes."""
        return self._at

    def check(self) -> None:
        """Raise the first ``OSError`` of the source, if it had one."""
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Close what was opened here; a file object of the caller's stays open."""
        if self._opened:
            self._file.close()

    def _patched(self, data: bytes, at: int) -> bytes:
        end = at + len(data)
        for place, new in self._patches:
            if place < end and at < place + len(new):
                first, last = max(place, at), min(place + len(new), end)
                data = data[: first - at] + new[first - place : last - place] + data[last - at :]
        return data


def mono(samples: FloatArray) -> FloatArray:
    """Mean over the channels, (n,) float32, of (n, channels); infinite where it overflows."""
    channels = samples.shape[1]
    if channels == 1:
        return samples[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        return samples @ np.full(channels, 1.0 / channels, np.float32)


def no_such_track(number: int, n_tracks: int) -> ClipError:
    """The failure of a recording that lacks the track which was asked for."""
    tracks = "1 audio track" if n_tracks == 1 else f"{n_tracks} audio tracks"
    return ClipError(Reason.UNSUPPORTED, f"no audio track {number}: the recording has {tracks}")


def block_length(sample_rate_hz: int, channels: int) -> int:
    """Samples per channel in one block: 10 s, or fewer for many channels or high rates."""
    return max(1, min(int(_BLOCK_S * sample_rate_hz), _MAX_BLOCK_VALUES // channels))


def _open(source: Source) -> BinaryIO:
    """The source as a binary file."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if isinstance(source, str | Path):
        return Path(source).open("rb")
    return source
