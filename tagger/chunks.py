"""Chunks: the pieces that most formats are made of, each with its name and length before it."""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from tagger.recording import Reader

Order = Literal["little", "big"]


def is_unknown(size: int, size_size: int = 4) -> bool:
    """Whether a length says that none was known when it was written.

    Programs that write to a pipe put there the largest number that fits, signed or not, or leave
    some room below it: sox 0x7F000000 and 0x7FFFF000, arecord 0x80000000, others 0xFFFFFFFF less
    a header.
    """
    if size_size == 8:
        return size >= 2**62
    return 0x7F00_0000 <= size <= 0x8000_FFFF or size >= 0xFFFF_0000


class Element(NamedTuple):
    """An element of a file; all places in bytes.

    Attributes
    ----------
    kind : its name in the file
    start, end : where its content begins, and where it should end
    sounds : whether it holds sound
    """

    kind: bytes
    start: int
    end: int
    sounds: bool


class Chunks(NamedTuple):
    """How a format writes its chunks.

    Attributes
    ----------
    first : where the first one begins
    kind_size, size_size : bytes of a chunk's name, and of its length behind it
    order : of the bytes of the length
    counts_header : whether the length counts name and length, too
    multiple : chunks begin at multiples of it, in bytes from the first
    sounding : names of the chunks that hold sound
    """

    first: int
    kind_size: int
    size_size: int
    order: Order
    counts_header: bool
    multiple: int
    sounding: tuple[bytes, ...]

    @property
    def header_size(self) -> int:
        """Bytes of name and length."""
        return self.kind_size + self.size_size

    def at(self, reader: Reader, place: int) -> Element | None:
        """The chunk that begins at a place, None where the file ends before its content."""
        header = reader.read_at(place, self.header_size)
        if len(header) < self.header_size:
            return None
        kind = header[: self.kind_size]
        size = int.from_bytes(header[self.kind_size :], self.order)
        start = place + self.header_size
        end = max(start, place + size) if self.counts_header else start + size
        return Element(kind, start, end, kind in self.sounding)

    def walk(self, reader: Reader) -> Iterator[Element]:
        """All chunks from the first on."""
        place = self.first
        while element := self.at(reader, place):
            yield element
            place = self.after(element)

    def after(self, element: Element) -> int:
        """Where the next chunk begins."""
        return element.end + (self.first - element.end) % self.multiple


RIFF: Final = Chunks(12, 4, 4, "little", False, 2, (b"data",))
RIFX: Final = RIFF._replace(order="big")
AIFF: Final = Chunks(12, 4, 4, "big", False, 2, (b"SSND", b"BODY"))
CAF: Final = Chunks(8, 4, 8, "big", False, 1, (b"data",))
W64: Final = Chunks(
    40, 16, 8, "little", True, 8, (b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a",)
)
DSF: Final = Chunks(28, 4, 8, "little", True, 1, (b"data",))
DFF: Final = Chunks(16, 4, 8, "big", False, 2, (b"DSD ", b"DST "))
REAL: Final = Chunks(0, 4, 4, "big", True, 1, (b"DATA",))
ASF: Final = Chunks(
    0, 16, 8, "little", True, 1, (b"\x36\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c",)
)
