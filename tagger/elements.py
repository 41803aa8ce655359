"""What files announce of themselves, by their elements: chunks, boxes, clusters, tags or pages.

Nearly every format is a sequence of elements with their lengths before them. Where one that holds
sound should end, says how much of it there should be. Nothing is decoded here.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from tagger.chunks import ASF, DFF, DSF, REAL, Element, is_unknown
from tagger.recording import Reader

_MOST: Final = 200_000  # elements that are looked at; each takes some microseconds


def _avi(reader: Reader) -> Iterator[Element]:
    """The lists of avi, and chunks of sound where a list was written to a pipe, without length."""
    place = 0
    while len(header := reader.read_at(place, 12)) == 12:
        kind, size = header[:4], int.from_bytes(header[4:8], "little")
        is_film = header[8:] == b"movi"
        if kind in (b"RIFF", b"LIST") and (kind == b"RIFF" or (is_film and is_unknown(size))):
            place += 12  # to be looked into
        else:
            yield Element(kind, place + 8, place + 8 + size, is_film or kind.endswith(b"wb"))
            place += 8 + size + size % 2


def _boxes(reader: Reader) -> Iterator[Element]:
    """The outermost boxes of mp4, mov, 3gp."""
    place = 0
    while len(header := reader.read_at(place, 16)) >= 8:
        size, kind, start = int.from_bytes(header[:4], "big"), header[4:8], place + 8
        if size == 1:
            size, start = int.from_bytes(header[8:], "big"), place + 16
        end = max(start, place + size) if size else reader.size  # the last one may have no length
        yield Element(kind, start, end, kind in (b"mdat", b"moof"))
        place = end


_SEGMENT: Final = 0x18538067
_CLUSTER: Final = 0x1F43B675
_BLOCKS: Final = (0xA0, 0xA3)


def _matroska(reader: Reader) -> Iterator[Element]:
    """Clusters of Matroska and WebM, and blocks where a live stream's clusters have no length."""
    place = 0
    while (header := _ebml_header(reader, place)) is not None:
        kind, start, size = header
        if size is None or kind == _SEGMENT:  # to be looked into
            yield Element(b"%X" % kind, start, start, False)
            place = start
        else:
            sounds = kind == _CLUSTER or kind in _BLOCKS
            yield Element(b"%X" % kind, start, start + size, sounds)
            place = start + size


def _ebml_header(reader: Reader, place: int) -> tuple[int, int, int | None] | None:
    """Identity, start and length (None where it is not known) of an EBML element."""
    header = reader.read_at(place, 12)
    if not header or not header[0]:
        return None
    n = 9 - header[0].bit_length()
    if len(header) <= n or not header[n]:
        return None
    m = 9 - header[n].bit_length()
    value = int.from_bytes(header[n : n + m], "big") - (1 << 7 * m)
    unknown = value == (1 << 7 * m) - 1
    return int.from_bytes(header[:n], "big"), place + n + m, None if unknown else value


def _real(reader: Reader) -> Iterator[Element]:
    """The chunks of rm; of some programs they count a header of ten bytes twice."""
    return (chunk._replace(end=chunk.end - 10) for chunk in REAL.walk(reader))


def _flash(reader: Reader) -> Iterator[Element]:
    """The tags of flv, each with its length before and behind it."""
    place = int.from_bytes(reader.read_at(5, 4), "big") + 4
    while len(header := reader.read_at(place, 11)) == 11:
        end = place + 11 + int.from_bytes(header[1:4], "big")
        yield Element(header[:1], place + 11, end, header[0] & 0x1F in (8, 9))
        place = end + 4


def _voice(reader: Reader) -> Iterator[Element]:
    """The blocks of a voc file."""
    place = int.from_bytes(reader.read_at(20, 2), "little")
    while len(header := reader.read_at(place, 4)) == 4 and header[0]:
        end = place + 4 + int.from_bytes(header[1:], "little")
        yield Element(header[:1], place + 4, end, header[0] in (1, 2, 9))
        place = end


def _wavpack(reader: Reader) -> Iterator[Element]:
    """The blocks of a wv file."""
    place = 0
    while (header := reader.read_at(place, 8)).startswith(b"wvpk") and len(header) == 8:
        end = place + 8 + int.from_bytes(header[4:], "little")
        yield Element(b"wvpk", place + 8, end, True)
        place = end


_ESSENCE: Final = (
    b"\x06\x0e\x2b\x34\x01\x02\x01"  # how names of an mxf file's sound and pictures begin
)


def _mxf(reader: Reader) -> Iterator[Element]:
    """The triplets of key, length and value of mxf."""
    place = 0
    while len(header := reader.read_at(place, 25)) > 16 and header.startswith(b"\x06\x0e\x2b\x34"):
        n = header[16] & 0x7F if header[16] & 0x80 else 0
        size = int.from_bytes(header[17 : 17 + n], "big") if n else header[16]
        start = place + 17 + n
        yield Element(header[:16], start, start + size, header.startswith(_ESSENCE))
        place = start + size


def _true_audio(reader: Reader) -> Iterator[Element]:
    """The frames of a tta file, by the table before them."""
    head = reader.read_at(0, 22)
    rate, n_samples = int.from_bytes(head[10:14], "little"), int.from_bytes(head[14:18], "little")
    per_frame = rate * 256 // 245
    n = min(-(-n_samples // per_frame), _MOST) if per_frame else 0
    table = reader.read_at(22, 4 * n)
    sizes = [int.from_bytes(table[i : i + 4], "little") for i in range(0, len(table), 4)]
    start = 22 + 4 * n + 4
    yield Element(b"TTA1", start, start + sum(sizes), True)


def _monkey(reader: Reader) -> Iterator[Element]:
    """The sound of an ape file of version 3.98 or later."""
    head = reader.read_at(0, 52)
    if len(head) == 52 and int.from_bytes(head[4:6], "little") >= 3980:
        sizes = [int.from_bytes(head[i : i + 4], "little") for i in range(8, 32, 4)]
        start = sum(sizes[:4])  # behind descriptor, header, seek table and the header of the wav
        yield Element(b"MAC ", start, start + sizes[4] + (sizes[5] << 32), True)


def _sphere(reader: Reader) -> Iterator[Element]:
    """The samples behind the header of a NIST sph file, which is text."""
    head = reader.read_at(0, 4096)
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,18})", head, re.MULTILINE))
    start = re.match(rb"NIST_1A\n\s*(\d{1,9})\n", head)
    needed = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if start and b",embedded-" not in head and all(name in fields for name in needed):
        count, channels, width = (int(fields[name]) for name in needed)
        at = int(start[1])
        yield Element(b"NIST", at, at + count * channels * width, True)


def _transport(packet_size: int) -> Callable[[Reader], Iterator[Element]]:
    """The packets of mpegts, all of one size; the last ones as one."""

    def walk(reader: Reader) -> Iterator[Element]:
        yield Element(b"ts", 0, -(-reader.size // packet_size) * packet_size, True)

    return walk


_TAIL: Final = 1 << 16
_PACKET: Final = re.compile(rb"\x00\x00\x01[\xbd\xc0-\xef](..)", re.DOTALL)


def _program(reader: Reader) -> Iterator[Element]:
    """The last packet of sound or pictures in mpeg, vob."""
    place = max(0, reader.size - _TAIL)
    for packet in _PACKET.finditer(reader.read_at(place, _TAIL)):
        start = place + packet.end()
        yield Element(packet[0][:4], start, start + int.from_bytes(packet[1], "big"), True)


def _avr(reader: Reader) -> Iterator[Element]:
    """The samples of avr."""
    head = reader.read_at(0, 30)
    width = (2 if any(head[12:14]) else 1) * (int.from_bytes(head[14:16], "big") // 8)
    yield Element(b"2BIT", 128, 128 + width * int.from_bytes(head[26:30], "big"), True)


def _psion(reader: Reader) -> Iterator[Element]:
    """The samples of wve."""
    yield Element(b"ALaw", 32, 32 + int.from_bytes(reader.read_at(18, 4), "big"), True)


def _midi(reader: Reader) -> Iterator[Element]:
    """The packets of sds, which has seven bits in a byte."""
    head = reader.read_at(0, 21)
    n_samples = head[10] | head[11] << 7 | head[12] << 14
    per_packet = 120 // max(1, -(-head[6] // 7))
    n_packets = -(-n_samples // per_packet) if per_packet else 0
    yield Element(b"sds", 21, 21 + 127 * n_packets, True)


_FORMATS: Final[dict[bytes, Callable[[Reader], Iterator[Element]]]] = {
    rb"RIFF....AVI ": _avi,
    rb"DSD ": DSF.walk,
    rb"FRM8........DSD ": DFF.walk,
    rb"\.RMF": _real,
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11": ASF.walk,
    rb"....(?:ftyp|styp|moov|mdat|moof|free|skip|wide|pnot)": _boxes,
    rb"\x1a\x45\xdf\xa3": _matroska,
    rb"FLV": _flash,
    rb"Creative Voice File": _voice,
    rb"wvpk": _wavpack,
    rb"\x06\x0e\x2b\x34": _mxf,
    rb"TTA1": _true_audio,
    rb"MAC ": _monkey,
    rb"NIST_1A\n": _sphere,
    rb"\x47.{187}\x47": _transport(188),
    rb".{4}\x47.{191}\x47": _transport(192),
    rb"\x00\x00\x01\xba": _program,
    rb"2BIT": _avr,
    rb"ALawSoundFile": _psion,
    rb"\xf0\x7e.\x01.{17}": _midi,
}
"""By what files of a format begin with."""


def missing(reader: Reader) -> int:
    """Bytes by which a file ends before the sound that it announces; 0 where it is whole.

    Also 0 where the format is not known here.
    """
    head = reader.read_at(0, 256)
    for magic, walk in _FORMATS.items():
        if re.match(magic, head, re.DOTALL):
            sounding = (e.end for e in islice(walk(reader), _MOST) if e.sounds)
            return max(0, max(sounding, default=0) - reader.size)
    return 0
