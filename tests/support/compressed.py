"""Hours of sound from few bytes."""

import struct
from typing import Final

_FRAME_SAMPLES: Final = 65_535
_RATE_HZ: Final = 8_000


def flac(hours: float, frame_samples: int = _FRAME_SAMPLES) -> bytes:
    """FLAC (RFC 9639) of digital silence at 8 kHz between two moments of a constant level.

    With the longest frames there are, an hour takes some 6 kB; with the encoder's usual 4,096
    samples, 100 kB.
    """
    n = round(hours * 3600 * _RATE_HZ / frame_samples)
    sizes = struct.pack(">HH6x", frame_samples, frame_samples)
    rate_channels_bits = (_RATE_HZ << 44) | (0 << 41) | (15 << 36)
    info = sizes + struct.pack(">Q", rate_channels_bits | n * frame_samples) + bytes(16)
    levels = {0: 4_000, n - 1: -4_000}
    frames = [_frame(i, levels.get(i, 0), frame_samples) for i in range(n)]
    return b"fLaC" + struct.pack(">I", 0x8000_0000 | len(info)) + info + b"".join(frames)


def _frame(number: int, level: int, n_samples: int) -> bytes:
    """A frame of one constant subframe of 16 bits."""
    head = b"\xff\xf8\x74\x08" + _utf8(number) + struct.pack(">H", n_samples - 1)
    head += bytes([_crc(head, 0x07, 8)])
    frame = head + b"\0" + struct.pack(">h", level)
    return frame + struct.pack(">H", _crc(frame, 0x8005, 16))


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, polynomial: int, n_bits: int) -> int:
    crc, top = 0, 1 << (n_bits - 1)
    for byte in data:
        crc ^= byte << (n_bits - 8)
        for _ in range(8):
            crc = ((crc << 1) ^ polynomial if crc & top else crc << 1) & ((1 << n_bits) - 1)
    return crc
