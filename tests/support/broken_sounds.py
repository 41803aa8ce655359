"""Recordings broken at random: input ``i`` of a seed is always the same file."""

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import av
import numpy as np
import soundfile

KINDS: Final = ("wav", "wav float", "flac", "ogg", "opus", "mp3", "m4a")
_SUBTYPES: Final = {"wav float": "FLOAT", "opus": "OPUS"}
_NUMBERS: Final = (
    *(bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\0\0\0\1", b"\1\0\0\0", b"\xff", b"\0", b"\0\0", b"\xff\xff", b"\xff" * 8),
)


def originals() -> dict[str, bytes]:
    """A sound recording of each kind, about a second long, in stereo."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((16_000, 2))
    samples[4_000:8_000] = 0.0
    found = {}
    for kind in KINDS:
        buffer = io.BytesIO()
        if kind == "m4a":
            _write_m4a(buffer, samples)
        else:
            container = {"opus": "OGG"}.get(kind, kind.split()[0].upper())
            soundfile.write(buffer, samples, 16_000, _SUBTYPES.get(kind), format=container)
        found[kind] = buffer.getvalue()
    return found


def _write_m4a(buffer: io.BytesIO, samples: np.ndarray[Any, Any]) -> None:
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="stereo")
    frame.sample_rate = 16_000
    with av.open(buffer, "w", format="ipod") as output:
        stream = output.add_stream("aac", rate=16_000, layout="stereo")
        resampler = av.AudioResampler("fltp", "stereo", 16_000, 1024)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))


def mutated(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Some edits, most of them in the header: bits, numbers, pieces lost, repeated or borrowed.

    Parameters
    ----------
    other : a recording of any kind, that pieces are borrowed from
    """
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        zone = min(len(changed), int(rng.choice([48, 128, 1024, len(changed)])))
        at = int(rng.integers(0, zone + 1))
        _edit(changed, at, rng, other)
    if rng.random() < 0.2:
        del changed[int(rng.integers(0, len(changed) + 1)) :]
    return bytes(changed)


def _edit(changed: bytearray, at: int, rng: np.random.Generator, other: bytes) -> None:
    size = int(rng.choice([1, 2, 4, 8, 64, 1000]))
    how = rng.integers(0, 7)
    if how == 0 and at < len(changed):
        changed[at] ^= 1 << int(rng.integers(0, 8))
    elif how in (1, 2):
        number = _NUMBERS[int(rng.integers(0, len(_NUMBERS)))]
        changed[at : at + len(number)] = number
    elif how == 3:
        changed[at : at + size] = rng.bytes(size)
    elif how == 4:
        del changed[at : at + size]
    elif how == 5:
        changed[at:at] = changed[at : at + size] * int(rng.integers(1, 4))
    elif how == 6:
        start = int(rng.integers(0, len(other)))
        changed[at : at + size] = other[start : start + size]


def inputs(n: int, seed: int, first: int = 0) -> Iterator[tuple[str, bytes]]:
    """Inputs ``first`` to ``n``: name of the file (number and kind in it), and content."""
    sounds = originals()
    for i in range(first, n):
        rng = np.random.default_rng((seed, i))
        kind = KINDS[i % len(KINDS)]
        other = sounds[KINDS[int(rng.integers(0, len(KINDS)))]]
        data = mutated(sounds[kind], rng, other)
        if rng.random() < 0.5:  # else few broken Ogg pages come as far as a decoder
            data = with_checksums(data)
        yield f"{i:06d} {kind}.{kind.split()[0]}", data


def with_checksums(data: bytes) -> bytes:
    """The checksum of every Ogg page made right again."""
    changed = bytearray(data)
    starts = [match.start() for match in re.finditer(b"OggS", data)]
    for start, end in pairwise([*starts, len(data)]):
        if end - start >= 27:
            changed[start + 22 : start + 26] = bytes(4)
            crc = 0
            for byte in changed[start:end]:
                crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
            changed[start + 22 : start + 26] = crc.to_bytes(4, "little")
    return bytes(changed)


def _crc_of(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


_CRC: Final = [_crc_of(byte) for byte in range(256)]
