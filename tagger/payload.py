"""The samples of formats that say beforehand how many bytes of them there are, and often err.

Wav and its relatives, aiff, caf and au announce the length of their samples in a header. It was
written before they were: a recorder that lost power leaves 0 or an old length, a program that wrote
to a pipe leaves some large number. Decoders believe it. Here the header is read as it should have
been written, and what is missing or left over is told.
"""

import re
from itertools import islice
from typing import Final, NamedTuple

from tagger.chunks import AIFF, CAF, RIFF, RIFX, W64, Chunks, Element, Order, is_unknown
from tagger.recording import Reader

_FORMATS: Final = {
    rb"(?:RIFF|RF64|BW64)....(?:WAVE|RMP3)": RIFF,
    rb"RIFX....WAVE": RIFX,
    rb"FORM....(?:AIF[FC]|8SVX|16SV)": AIFF,
    rb"caff": CAF,
    rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0": W64,
}
_BEFORE_AIFF: Final = 8  # bytes of other content before the samples in their chunk
_BEFORE_CAF: Final = 4
_MPEG_IN_WAV: Final = (b"\x50\0", b"\x55\0")
_NAME: Final = re.compile(rb"(?!RIFF|RIFX|RF64|BW64|riff|FORM)[ -~\xa9]{4}")
_NAMES: Final = {
    CAF: re.compile(rb"pakt|info|free|peak|uuid|strg|midi|ovvw|umid|edct|kuki|chan|mark|regn|inst")
}
_FEW: Final = 8  # bytes that are too few for a chunk, and no loss
_BLOCK: Final = 1 << 20
_MOST_CHUNKS: Final = 10_000  # before the samples


class _Length(NamedTuple):
    """Where and how a header writes the length of the samples.

    Attributes
    ----------
    at, n, order : place and number of its bytes, and their order
    also_counts : bytes that it counts besides the samples
    """

    at: int
    n: int
    order: Order
    also_counts: int

    def correct(self, reader: Reader, size: int) -> None:
        """Have the header read as if it said ``size``."""
        most = (1 << 8 * self.n) - 1
        value = min(size + self.also_counts, most)
        data = value.to_bytes(self.n, self.order)
        if reader.read_at(self.at, self.n) != data:
            reader.patch(self.at, data)


class _Samples(NamedTuple):
    """What a header says of the samples: ``start`` and ``end`` in bytes, None where unknown."""

    start: int
    end: int | None
    length: _Length


def mend(reader: Reader) -> str | None:
    """Correct the announced length of the samples.

    MPEG audio in wav is narrowed to the MPEG audio.

    Returns
    -------
    what is missing or left over, as the end of a sentence; "" where nothing is; None where the
    format is not known here
    """
    head = reader.read_at(0, 32)
    if head.startswith(b".snd"):
        return _mend_au(reader, head)
    for magic, chunks in _FORMATS.items():
        if re.match(magic, head, re.DOTALL):
            if chunks is CAF and head.endswith(b"alac"):
                _mend_alac(reader)
            return _mend_chunks(reader, chunks, head)
    return None


def _mend_alac(reader: Reader) -> None:
    """Announce no padding in ALAC of caf: ffmpeg takes it away also where there is none."""
    for chunk in islice(CAF.walk(reader), _MOST_CHUNKS):
        if chunk.kind == b"pakt":
            reader.patch(chunk.start + 20, bytes(4))


def _mend_au(reader: Reader, head: bytes) -> str:
    start, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    end = None if is_unknown(size) else start + size
    _, fault = _mended(reader, _Samples(start, end, _Length(8, 4, "big", 0)), None)
    return fault


def _mend_chunks(reader: Reader, chunks: Chunks, head: bytes) -> str:
    before: dict[bytes, Element] = {}
    for chunk in islice(chunks.walk(reader), _MOST_CHUNKS):
        if chunk.sounds:
            samples = _announced(reader, chunks, chunk, before.get(b"ds64"))
            end, fault = _mended(reader, samples, chunks)
            form = before.get(b"fmt ")
            codec = reader.read_at(form.start, 2) if form else b""
            if codec in _MPEG_IN_WAV or head[8:12] == b"RMP3":
                reader.narrow(samples.start, end)
            return fault
        before[chunk.kind[:4]] = chunk
    return ""


def _announced(reader: Reader, chunks: Chunks, chunk: Element, ds64: Element | None) -> _Samples:
    """What the header says of the samples in a chunk; a large wav says it in another one."""
    extra = _BEFORE_CAF if chunks is CAF else _BEFORE_AIFF if chunk.kind == b"SSND" else 0
    size = chunk.end - chunk.start
    length = _Length(
        chunk.start - chunks.size_size,
        chunks.size_size,
        chunks.order,
        extra + (chunks.header_size if chunks.counts_header else 0),
    )
    if ds64:
        length = _Length(ds64.start + 8, 8, "little", 0)
        if size in (0, 0xFFFF_FFFF):
            size = int.from_bytes(reader.read_at(length.at, length.n), "little")
    start = chunk.start + extra
    known = not is_unknown(size, length.n)
    return _Samples(start, max(start, chunk.start + size) if known else None, length)


def _mended(reader: Reader, samples: _Samples, chunks: Chunks | None) -> tuple[int, str]:
    """Where the samples end, and what is missing or left over; the header is corrected."""
    start, end, length = samples
    fault = ""
    if start >= reader.size:
        n = (end or start) - start
        return reader.size, f"the header promises {n} bytes of samples" if n else ""
    if end is None:
        end = reader.size
    elif end > reader.size:
        has = reader.size - start
        fault = f"the header promises {end - start} bytes of samples, the file has {has}"
        end = reader.size
    elif n_more := _n_unclaimed(reader, chunks, end):
        if n_more >= 2**32 or _is_constant(reader, start, end):
            end = reader.size
        else:
            reader.narrow(0, reader.size - n_more)
            fault = f"{n_more} bytes behind the samples are no chunk" if n_more >= _FEW else ""
    if end == start or chunks is W64:
        # Decoders take a length of 0 for an unknown one, and libsndfile any length of w64
        reader.narrow(0, end)
    length.correct(reader, end - start)
    return end, fault


def _n_unclaimed(reader: Reader, chunks: Chunks | None, place: int) -> int:
    """Bytes from a place on that belong to no chunk; zeros at the end of the file are nothing."""
    while chunks and (chunk := _chunk_at(reader, chunks, place)):
        place = chunk.end
    return 0 if _is_constant(reader, place, reader.size, b"\0") else reader.size - place


def _chunk_at(reader: Reader, chunks: Chunks, place: int) -> Element | None:
    """The chunk that follows at a place, with or without a pad byte, if one does."""
    limit = max(reader.size + 1, _announced_end(reader, chunks))
    for start in (place + (chunks.first - place) % chunks.multiple, place):
        chunk = chunks.at(reader, start)
        if chunk and _NAMES.get(chunks, _NAME).match(chunk.kind) and chunk.end <= limit:
            return chunk
    return None


def _announced_end(reader: Reader, chunks: Chunks) -> int:
    """Where the file should end; far away for caf, which does not say it."""
    if chunks is CAF:
        return 1 << 63
    head = reader.read_at(0, 28)
    if chunks is W64:
        return int.from_bytes(head[16:24], "little")
    if head[12:16] == b"ds64":
        return 8 + int.from_bytes(head[20:28], "little")
    return 8 + int.from_bytes(head[4:8], chunks.order)


def _is_constant(reader: Reader, start: int, end: int, value: bytes = b"") -> bool:
    """Whether all bytes from ``start`` to ``end`` are the same: ``value``, or any."""
    reader.seek(start)
    blocks = iter(lambda: reader.read(min(_BLOCK, end - reader.tell())), b"")
    for block in blocks:
        value = value or block[:1]
        if block.count(value) != len(block):
            return False
    return True
