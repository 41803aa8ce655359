"""Frames of streams without a container: where one begins, and how long it says it is.

Streams of MPEG audio, AAC, AC-3 and DTS are frames end to end. ffmpeg hands them out one by one,
but with what lies between them: the tags of a second file, joined to the first, are given as the
beginning of that file's first frame, and what lies behind the last frame as a frame, or as part of
the last.
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple, SupportsBytes

from tagger.metadata import id3_length
from tagger.recording import Reader

_MPEG_KBPS: Final = {
    # (version 1, layer): kbit/s by index
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MPEG_HZ: Final = (44_100, 48_000, 32_000)
_MP3_LENGTH: Final = re.compile(
    rb"(?:Xing|Info)...[\x01\x03\x05\x07\x09\x0b\x0d\x0f](?P<xing>....)"
    rb"|VBRI.{10}(?P<vbri>....)",
    re.DOTALL,
)
_AC3_KBPS: Final = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640),
)
_AC3_HZ: Final = (48_000, 44_100, 32_000)


def _mpeg(head: bytes) -> int:
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps, hz, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or not 0 < kbps < 15 or hz == 3:
        return 0
    bit_rate = 1000 * _MPEG_KBPS[version == 3, layer][kbps - 1]
    rate = _mpeg_hz(head)
    if layer == 1:
        return 4 * (12 * bit_rate // rate + padding)
    return (72 if layer == 3 and version != 3 else 144) * bit_rate // rate + padding


def announced_s(head: bytes) -> float:
    """Seconds that an mp3 file says it has, by the frame of encoders at its beginning; else 0.

    Parameters
    ----------
    head : the first bytes of the file, some hundred
    """
    found = _MP3_LENGTH.search(
        head[: _mpeg(head)] if head[:1] == b"\xff" and len(head) > 3 else b""
    )
    if not found:
        return 0.0
    n_frames = int.from_bytes(found["xing"] or found["vbri"], "big")
    is_version_1 = head[1] >> 3 & 3 == 3
    return n_frames * (1152 if is_version_1 else 576) / _mpeg_hz(head)


def _mpeg_hz(head: bytes) -> int:
    return _MPEG_HZ[head[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[head[1] >> 3 & 3]


def _adts(head: bytes) -> int:
    return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _latm(head: bytes) -> int:
    return 3 + ((head[1] & 0x1F) << 8 | head[2])


def _ac3(head: bytes) -> int:
    if head[5] >> 3 > 10:  # E-AC-3
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    hz, code = head[4] >> 6, head[4] & 0x3F
    if hz == 3 or code >= 2 * len(_AC3_KBPS):
        return 0
    words = 96_000 * _AC3_KBPS[code // 2] // _AC3_HZ[hz]
    return 2 * (words + (code & 1 if hz == 1 else 0))


def _dts(head: bytes) -> int:
    return ((head[5] & 3) << 12 | head[6] << 4 | head[7] >> 4) + 1


def _unknown(_: bytes) -> int:
    return 0


class _Kind(NamedTuple):
    """How the frames of a kind of stream are written.

    Attributes
    ----------
    begins : matches where a frame begins, also if only a byte of it is left
    length : the length in bytes that a head states, 0 where it states none
    mask : of the first four bytes of a head, what is the same in all frames of a stream
    """

    begins: re.Pattern[bytes]
    length: Callable[[bytes], int]
    mask: int


_AC3: Final = _Kind(re.compile(rb"\x0b(?:\x77|\Z)"), _ac3, 0xFFFF_0000)
_KINDS: Final = {
    "mp3": _Kind(re.compile(rb"\xff(?:[\xe2-\xff]|\Z)"), _mpeg, 0xFFFE_0C00),
    "aac": _Kind(re.compile(rb"\xff(?:[\xf0\xf1\xf8\xf9]|\Z)"), _adts, 0xFFFE_FC00),
    "loas": _Kind(re.compile(rb"\x56(?:[\xe0-\xff]|\Z)"), _latm, 0xFFE0_0000),
    "ac3": _AC3,
    "eac3": _AC3,
    "dts": _Kind(re.compile(rb"\x7f(?:\xfe|\Z)"), _dts, 0xFFFF_FFFF),
    "flac": _Kind(re.compile(rb"\xff(?:[\xf8\xf9]|\Z)"), _unknown, 0),
    "mlp": _Kind(re.compile(rb".", re.DOTALL), _unknown, 0),
    "truehd": _Kind(re.compile(rb".", re.DOTALL), _unknown, 0),
}
"""By ffmpeg's name of the stream."""

_HEAD: Final = 8
_TAG: Final = re.compile(b"ID3|3DI|TAG|APETAGEX|LYRICSBEGIN")
_MUCH: Final = 1 << 13  # bytes; small files have no more behind the last frame that is no loss
_MUCH_OF_FILE: Final = 0.05  # nor have larger ones more than this share


def length(stream: str, data: bytes) -> int:
    """Length in bytes of the frame that data begin with, 0 where none begins or none is stated.

    Parameters
    ----------
    stream : ffmpeg's name of the kind of stream
    """
    kind = _KINDS[stream]
    if len(data) < _HEAD or not kind.begins.match(data):
        return 0
    size = kind.length(data[:_HEAD])
    return size if size >= _HEAD else 0


class Losses:
    """What of a stream was lost, of all that could not be decoded.

    In a container it is everything. In a stream without one, tags and what programs leave between
    frames and behind the last one never were sound. They are a loss where frames follow that do not
    belong to a joined file, or where a frame begins that the file has not to its end.

    Parameters
    ----------
    stream : ffmpeg's name of the container or kind of stream
    """

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._kind = _KINDS.get(stream)
        self._lost = ""
        self._pending = ""  # a loss if frames follow
        self._n_pending = 0
        self._tag_end = 0
        self._last: SupportsBytes | None = None  # what was decoded last
        self._place = 0

    def decoded(self, data: SupportsBytes, place: int) -> None:
        """Bytes of a packet, which begin at a place in the file, were decoded."""
        if self._pending and self._last:  # before the first frame nothing is lost
            self._lost = self._lost or self._pending
        self._pending, self._n_pending = "", 0
        self._last, self._place = data, place

    def not_decoded(self, data: bytes, place: int, why: str) -> None:
        """Bytes of a packet, which begin at a place, could not be decoded."""
        if not data:
            return
        if not self._kind:
            self._lost = self._lost or why
            return
        if _TAG.match(data):
            self._tag_end = place + max(len(data), id3_length(data[:10]))
        if place >= self._tag_end:
            self._pending = self._pending or why
            self._n_pending += len(data)

    def frames_in(self, data: bytes) -> slice:
        """Where frames are in a packet that was not decoded as a whole: at its start or end."""
        for found in self._kind.begins.finditer(data) if self._kind else ():
            end = start = found.start()
            while (size := length(self._stream, data[end:])) and self._is_alike(data[end:]):
                end += size
            if start < end <= len(data) and (start == 0 or end == len(data)):
                return slice(start, end)
        return slice(0, 0)

    def told(self, reader: Reader) -> str:
        """What was lost of the file, "" where nothing was."""
        if self._lost or not self._kind:
            return self._lost
        last = bytes(self._last or b"")
        goes_on = self._kind.begins.match(reader.read_at(self._place + len(last), _HEAD))
        if goes_on or length(self._stream, last) > len(last):
            return "the last frame is incomplete"
        much = max(_MUCH, _MUCH_OF_FILE * reader.size)
        return self._pending if self._n_pending > much else ""

    def _is_alike(self, data: bytes) -> bool:
        """Whether a frame is of the kind of the one before it."""
        mask = self._kind.mask if self._kind and self._last else 0
        head, last = (int.from_bytes(bytes(d)[:4], "big") for d in (data, self._last or b""))
        return head & mask == last & mask
