"""Recordings broken at random: input ``i`` of a seed is always the same file."""

import io
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, cast

import av
import numpy as np
import soundfile

KINDS: Final = ("wav", "wav float", "flac", "ogg", "opus", "mp3", "m4a")
_SUBTYPES: Final = {"wav float": "FLOAT", "opus": "OPUS", "caf alac": "ALAC_16"}
_BY_FFMPEG: Final = {  # container, codec, rate in Hz, layout
    "m4a": ("ipod", "aac", 16_000, "stereo"),
    "mkv": ("matroska", "aac", 16_000, "stereo"),
    "webm": ("webm", "libopus", 16_000, "stereo"),
    "flv": ("flv", "aac", 44_100, "stereo"),
    "wma": ("asf", "wmav2", 16_000, "stereo"),
    "avi": ("avi", "mp2", 16_000, "stereo"),
    "mp4 pieces": ("mp4", "aac", 16_000, "stereo"),
    "ts": ("mpegts", "aac", 16_000, "stereo"),
    "mpg": ("mpeg", "mp2", 16_000, "stereo"),
    "aac": ("adts", "aac", 16_000, "stereo"),
    "ac3": ("ac3", "ac3", 48_000, "stereo"),
    "oga": ("ogg", "flac", 16_000, "stereo"),
    "wv": ("wv", "wavpack", 16_000, "stereo"),
    "tta": ("tta", "tta", 16_000, "stereo"),
    "amr": ("amr", "libopencore_amrnb", 8_000, "mono"),
    "rm": ("rm", "real_144", 8_000, "mono"),
}
MORE_KINDS: Final = (
    *("rf64", "w64", "aiff", "au", "caf", "caf alac", "voc", "svx", "avr", "nist", "sds"),
    *(kind for kind in _BY_FFMPEG if kind not in KINDS),
)
"""What else is broken where there is time for it."""
_NUMBERS: Final = (
    *(bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0"),
    *(b"\0\0\0\1", b"\1\0\0\0", b"\xff", b"\0", b"\0\0", b"\xff\xff", b"\xff" * 8),
)


def originals(kinds: Sequence[str] = KINDS) -> dict[str, bytes]:
    """A sound recording of each kind, about a second long, in stereo where that is possible."""
    rng = np.random.default_rng(0)
    samples = 0.1 * rng.standard_normal((16_000, 2))
    samples[4_000:8_000] = 0.0
    found = {}
    for kind in kinds:
        buffer = io.BytesIO()
        if kind in _BY_FFMPEG:
            _write_by_ffmpeg(buffer, samples, *_BY_FFMPEG[kind])
        else:
            container = {"opus": "OGG"}.get(kind, kind.split()[0].upper())
            channels = 1 if kind in ("sds", "svx") else 2
            subtype = _SUBTYPES.get(kind)
            soundfile.write(buffer, samples[:, :channels], 16_000, subtype, format=container)
        found[kind] = buffer.getvalue()
    return found


def _write_by_ffmpeg(
    buffer: io.BytesIO,
    samples: np.ndarray[Any, Any],
    container: str,
    codec: str,
    rate_hz: int,
    layout: str,
) -> None:
    samples = samples[:, : 1 if layout == "mono" else 2]
    packed = np.ascontiguousarray(samples, np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate, frame.pts = rate_hz, 0
    options = {"movflags": "frag_keyframe+empty_moov"} if container == "mp4" else {}
    with av.open(buffer, "w", format=container, options=options) as output:
        stream = cast(av.AudioStream, output.add_stream(codec, rate=rate_hz, layout=layout))
        context = stream.codec_context
        context.bit_rate = 128_000
        context.open()
        resampler = av.AudioResampler(context.format, layout, rate_hz, context.frame_size or 1024)
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


def inputs(
    n: int, seed: int, first: int = 0, kinds: Sequence[str] = KINDS
) -> Iterator[tuple[str, bytes]]:
    """Inputs ``first`` to ``n``: name of the file (number and kind in it), and content."""
    sounds = originals(kinds)
    for i in range(first, n):
        rng = np.random.default_rng((seed, i))
        kind = kinds[i % len(kinds)]
        other = sounds[kinds[int(rng.integers(0, len(kinds)))]]
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
