"""Containers with several audio tracks, written on the spot."""

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np

RATE = 16_000
NONE, LOW, HIGH = 0, 440, 1_760
"""Tracks: silence, and tones by their frequency."""


def container(
    tracks: Sequence[int],
    kind: str = "matroska",
    codec: str = "pcm_s16le",
    default: int | None = None,
    title: str = "",
) -> bytes:
    """Two seconds of each track; ``default`` is the number of the one marked so."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as output:
        options: dict[str, Any] = {"rate": RATE, "layout": "mono", "bit_rate": 64_000}
        streams: list[Any] = [output.add_stream(codec, **options) for _ in tracks]
        for number, stream in enumerate(streams, 1):
            stream.disposition = int(number == default)
            stream.metadata["title"] = title
            stream.codec_context.open()
        for stream, hz in zip(streams, tracks, strict=True):
            tone = np.sin(2 * np.pi * hz * np.arange(2 * RATE) / RATE)
            samples = (16_000 * tone).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = RATE
            context = stream.codec_context
            resampler = av.AudioResampler(context.format, "mono", RATE, context.frame_size or 1_024)
            for part in (*resampler.resample(frame), *resampler.resample(None), None):
                output.mux(stream.encode(part))
    return buffer.getvalue()
