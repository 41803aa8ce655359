"""What the isolated process does to a recording; it loads neither Arrow nor anything of the job.

Each worker starts such a process before its first batch, so its imports count.
"""

from collections.abc import Iterator
from typing import BinaryIO, Final

from tagger import audio
from tagger.arrays import FloatArray
from tagger.decoding import audio_tracks
from tagger.errors import ClipError
from tagger.logmel import stream_patches

DEFAULT_TRACK: Final = "default"
ALL_TRACKS: Final = "all"


def decode_patches(
    source: bytes | BinaryIO, max_hours: float, track: str
) -> Iterator[int | float | audio.Signal | FloatArray | ClipError]:
    """Hours as they are decoded, then the signal, then the patches of a recording.

    Of all audio tracks each begins with its number, the first apart, and may end with the failure
    that its bytes cause.
    """
    for name, number in _numbers(source, track):
        if name:
            yield name
        try:
            signal, blocks = yield from audio.loading(source, max_hours, number)
            yield signal
            yield from stream_patches(blocks)
            if blocks.signal != signal:
                yield blocks.signal
        except ClipError as error:
            if track != ALL_TRACKS or not error.reason.final:
                raise
            yield error


def _numbers(source: bytes | BinaryIO, track: str) -> Iterator[tuple[int, int | None]]:
    """The tracks to decode: how each is told apart (``tracks.Key``), and which one it is."""
    if track != ALL_TRACKS:
        yield 0, None if track == DEFAULT_TRACK else int(track)
        return
    n_tracks, default = audio_tracks(source)
    yield 0, default
    yield from ((number, number) for number in range(1, n_tracks + 1) if number != default)
