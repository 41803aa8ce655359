"""Recordings of any kind as mono blocks of bounded size.

Two decoders share the work: soundfile (libsndfile) is faster, PyAV (``tagger.ffmpeg``) reads more.
Contents decide which of them reads first; names and suffixes are never looked at. What the first
refuses the other tries, and where libsndfile gives up on the way ffmpeg goes on.

PyAV reads first what libsndfile opens but does not read well: CAF, where it prints when the file
is broken; VOC, where it takes headers of blocks for samples; chained Ogg files (streams end to
end), of which it reads the first stream only; FLAC of unknown length, of which it does
not tell whether the last frame is whole. MPEG audio (mp3, and raw AAC, which looks like it) and
ALAC are PyAV's alone: libsndfile's decoders print, and the first gives up at a damaged frame.

A damaged recording is used as far as it decodes; one of which nothing decodes is an error.
"""

import re
from collections.abc import Generator
from contextlib import ExitStack
from itertools import chain, pairwise
from typing import Final

import numpy as np
import soundfile

from tagger import metadata, promises
from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.promises import Promise
from tagger.recording import (
    NOT_AUDIO,
    Decoded,
    Mix,
    Reader,
    Source,
    block_length,
    mono,
    no_such_track,
)

_FFMPEG_ONLY: Final = re.compile(rb"\xff[\xe0-\xff]|caff.*alac", re.DOTALL)  # sync word; ALAC
_FFMPEG_FIRST: Final = re.compile(rb"caff|Creative Voice File")
_UNKNOWN_KIND, _UNKNOWN_CODEC = 1, 4  # libsndfile's numbers of errors
_NO_LENGTH: Final = 2**62  # libsndfile reports lengths it does not know as about 2**63


def decode_blocks(source: Source, mix: Mix = mono, track: int | None = None) -> Decoded:
    """Open a recording and decode it to mono, a block at a time.

    Parameters
    ----------
    source : bytes, local path, or seekable binary file object, which is read from its start and
        stays open
    mix : makes mono of the channels; their mean by default
    track : number, from 1, of the audio track to decode; None: the container's default

    Raises
    ------
    ClipError : ``EMPTY``, ``UNSUPPORTED`` or ``DECODE_ERROR``, here or while the blocks are read
    OSError : the source itself cannot be read, which is no fault of the recording
    """
    reader = Reader(source)
    with ExitStack() as on_error:
        on_error.callback(reader.close)
        if reader.size == 0:
            raise ClipError(Reason.EMPTY, "the file has no bytes")
        rate, channels, blocks = _open(reader, track)
        on_error.pop_all()
    return Decoded(rate, channels, _mixed(blocks, mix, reader))


def audio_tracks(source: Source) -> tuple[int, int]:
    """How many audio tracks a recording has, and the number of its default.

    One that cannot be opened has one; decoding it tells why.
    """
    from tagger.ffmpeg import count_tracks

    reader = Reader(source)
    try:
        metadata.leave_out(reader)
        return count_tracks(reader)
    finally:
        reader.close()


def _mixed(blocks: Generator[FloatArray], mix: Mix, reader: Reader) -> Generator[FloatArray]:
    try:
        for block in blocks:
            yield mix(block)
    finally:
        blocks.close()
        reader.close()


def _open(reader: Reader, track: int | None) -> Decoded:
    """The recording, (n, channels) a block; what it announces is held against what it has."""
    metadata.leave_out(reader)
    promise = promises.read(reader)
    reader.check()
    rate, channels, blocks = _opened(reader, promise, track)
    return Decoded(rate, channels, promises.held(blocks, promise, rate))


def _opened(reader: Reader, promise: Promise, track: int | None) -> Decoded:
    """The recording, (n, channels) a block, by the first decoder that can read it."""
    head = reader.read_at(0, 256)
    if _FFMPEG_ONLY.match(head):
        decoders = [_open_ffmpeg]
    elif _FFMPEG_FIRST.match(head) or promise.is_for_ffmpeg:
        decoders = [_open_ffmpeg, _open_soundfile]
    else:
        decoders = [_open_soundfile, _open_ffmpeg]
    failures: list[ClipError] = []
    for decoder in decoders:
        try:
            return decoder(reader, track)
        except ClipError as error:
            failures.append(error)
    failure = max(failures, key=_how_telling)
    broken = promise.broken or promise.unfinished
    if broken and failure.reason is not Reason.UNSUPPORTED:
        raise ClipError(Reason.DECODE_ERROR, broken)
    raise failure


def _how_telling(failure: ClipError) -> int:
    if failure.detail == NOT_AUDIO:
        return 0
    return {Reason.EMPTY: 1, Reason.DECODE_ERROR: 2}.get(failure.reason, 3)


def _open_ffmpeg(reader: Reader, track: int | None) -> Decoded:
    starts = promises.flac_streams(reader)
    if len(starts) > 1:  # ffmpeg may leave out the last frame before another stream
        return _open_joined([reader.part(*ends) for ends in pairwise([*starts, reader.size])])

    from tagger.ffmpeg import open_ffmpeg  # only where it is needed: it takes 0.1 s and 40 MB

    return open_ffmpeg(reader, track)


def _open_joined(parts: list[Reader]) -> Decoded:
    """Recordings end to end, each decoded as it would be alone."""
    opened = (_open(part, None) for part in parts)
    first = next(opened)

    def blocks() -> Generator[FloatArray]:
        trouble: ClipError | None = None
        for part in chain([first], opened):
            if part.sample_rate_hz != first.sample_rate_hz:
                raise ClipError(Reason.DECODE_ERROR, "the sample rate changes on the way")
            try:
                yield from part.blocks
            except ClipError as error:
                trouble = trouble or error
        if trouble:
            raise trouble

    return Decoded(first.sample_rate_hz, first.channels, blocks())


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """Read from start to end only.

    soundfile would seek after each read, which costs time and fails where headers lie.
    """

    def seekable(self) -> bool:
        """No: soundfile asks before it seeks."""
        return False


def _open_soundfile(reader: Reader, track: int | None) -> Decoded:
    reader.seek(0)
    try:
        sound = _Forward(reader)
    except soundfile.LibsndfileError as error:
        reader.check()
        if error.code in (_UNKNOWN_KIND, _UNKNOWN_CODEC):
            raise ClipError(Reason.UNSUPPORTED, NOT_AUDIO) from None
        raise ClipError(Reason.DECODE_ERROR, _line(error)) from None
    if track is not None and track > 1:
        raise no_such_track(track, 1)
    return Decoded(sound.samplerate, sound.channels, _by_soundfile(sound, reader))


def _line(error: soundfile.LibsndfileError) -> str:
    """What libsndfile says, in one line."""
    return " ".join((error.error_string or "broken data").split())


def _by_soundfile(sound: soundfile.SoundFile, reader: Reader) -> Generator[FloatArray]:
    """Blocks, (n, channels); by ffmpeg from where libsndfile gives up."""
    rate, n_promised = sound.samplerate, sound.frames
    n_decoded, gave_up = 0, ""
    with sound:
        shape = block_length(rate, sound.channels), sound.channels
        n_read = 1
        while n_read:
            buffer = np.empty(shape, np.float32)
            try:
                n_read = len(sound.read(out=buffer))
            except soundfile.LibsndfileError as error:
                gave_up = _line(error)
                usable = buffer[: max(0, sound.tell() - n_decoded)]
                break
            reader.check()
            n_decoded += n_read
            if n_read:
                yield buffer[:n_read]
    reader.check()
    if gave_up:
        n_decoded += yield from _goes_on(n_decoded, reader, rate, usable, gave_up)
    elif not n_decoded:
        yield from _instead(reader)
    if n_decoded < n_promised < _NO_LENGTH:
        end = f"decoding stopped at {n_decoded / rate:.3f} s"
        raise ClipError(
            Reason.DECODE_ERROR, f"{end}: the header promises {n_promised / rate:.3f} s"
        )


def _instead(reader: Reader) -> Generator[FloatArray]:
    """What ffmpeg makes of a recording in which libsndfile finds no sample; it may know no such."""
    try:
        yield from _open_ffmpeg(reader, None).blocks
    except ClipError as error:
        if error.detail != NOT_AUDIO:
            raise


def _goes_on(
    n_decoded: int, reader: Reader, sample_rate_hz: int, usable: FloatArray, gave_up: str
) -> Generator[FloatArray, None, int]:
    """What ffmpeg decodes behind the first samples; where it cannot, what libsndfile still did.

    Parameters
    ----------
    n_decoded : samples that libsndfile decoded before the block at which it gave up
    usable : (n, channels), what it decoded of that block
    gave_up : why

    Returns
    -------
    how many samples there were
    """
    n = 0
    try:
        rate, _, blocks = _open_ffmpeg(reader, None)
        for block in blocks if rate == sample_rate_hz else ():
            n += len(block)
            if n > n_decoded:
                yield block[n_decoded - n :]
    except ClipError:
        if n > n_decoded:
            raise
    if n > n_decoded:
        return n - n_decoded
    if len(usable):
        yield usable
    end = f"decoding stopped at {(n_decoded + len(usable)) / sample_rate_hz:.3f} s"
    raise ClipError(Reason.DECODE_ERROR, f"{end}: {gave_up}")
