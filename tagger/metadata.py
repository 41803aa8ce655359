"""Metadata that was glued to a recording's ends: ID3, APE and Lyrics3 tags, whatever the format.

They were made for mp3, where decoders pass over them. Taggers put them around other formats as
well, where a decoder takes the first for an unknown format and the last for broken audio.
"""

import re
from typing import Final

from tagger.recording import Reader

_ID3_HEADER: Final = re.compile(rb"(?:ID3|3DI)[\x00-\xfe]{2}(.)([\x00-\x7f]{4})", re.DOTALL)
_ID3_HAS_FOOTER: Final = 0x10
_APE_HAS_HEADER: Final = 0x8000_0000
_MOST_TAGS: Final = 16  # at one end
_LONGEST_LYRICS: Final = 1 << 16


def leave_out(reader: Reader) -> None:
    """Narrow a recording to what lies between its tags; to all of it where only tags are there."""
    start, end = 0, reader.size
    for _ in range(_MOST_TAGS):
        leading = id3_length(reader.read_at(start, 10))
        trailing = _trailing(reader, end)
        if not leading and not trailing:
            break
        start, end = start + leading, end - trailing
    if start < end:
        reader.narrow(start, end)


def id3_length(header: bytes) -> int:
    """Length of an ID3v2 tag with its header, and footer where it has one, 0 without a header."""
    found = _ID3_HEADER.fullmatch(header)
    if not found:
        return 0
    flags, digits = found[1][0], found[2]
    size = 0
    for digit in digits:
        size = size << 7 | digit
    return 10 + size + (10 if flags & _ID3_HAS_FOOTER else 0)


def _trailing(reader: Reader, end: int) -> int:
    """Length of the tag that ends at a place, 0 without one."""
    start = max(0, end - _LONGEST_LYRICS)
    tail = reader.read_at(max(0, end - 128), min(end, 128))
    if len(tail) == 128 and tail.startswith(b"TAG"):
        return 128
    if tail[-32:-24] == b"APETAGEX":
        size, _, flags = (int.from_bytes(tail[i : i + 4], "little") for i in (-20, -16, -12))
        size += 32 if flags & _APE_HAS_HEADER else 0
        return size if _begins(reader, end - size, b"APETAGEX", flags & _APE_HAS_HEADER) else 0
    if tail.endswith((b"LYRICS200", b"LYRICSEND")):
        begin = reader.read_at(start, end - start).rfind(b"LYRICSBEGIN")
        return end - start - begin if begin >= 0 else 0
    size = id3_length(tail[-10:]) if tail[-10:].startswith(b"3DI") else 0
    return size if size and _begins(reader, end - size, b"ID3", True) else 0


def _begins(reader: Reader, at: int, name: bytes, is_written: int) -> bool:
    """Whether a tag can begin at a place, and does so with its name where that is written."""
    return at >= 0 and (not is_written or reader.read_at(at, len(name)) == name)
