"""Recordings of any kind as mono blocks of bounded size.

soundfile (libsndfile) reads first; PyAV (``tagger.ffmpeg``) reads what libsndfile does not:
m4a/aac, wma, webm, mp4 and other video. Some kinds go straight to PyAV. MPEG audio (mp3, and raw
AAC, which looks like it) and CAF do, because libsndfile's decoders write to stderr and stdout when
such a file is broken, and the one for mp3 gives up at the first damaged frame. Chained Ogg files
(streams end to end) do, because libsndfile reads the first stream only.

Only contents decide; names and suffixes are never looked at. A damaged recording is used as far as
it decodes; one of which nothing decodes is an error.
"""

import re
from collections.abc import Generator
from contextlib import ExitStack
from itertools import takewhile
from typing import Final

import numpy as np
import soundfile

from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.recording import Decoded, Mix, Reader, Source, block_length, mono, no_such_track

_FOR_FFMPEG: Final = re.compile(rb"ID3|\xff[\xe0-\xff]|caff")  # tag or sync word of mp3; CAF
_OGG_PAGE: Final = re.compile(rb"OggS\0(.).{8}(.{4})", re.DOTALL)  # flags, serial of its stream
_OGG_BEGINS: Final = 2  # the flag of a stream's first page; those of all streams stand first
_OGG_LONGEST_PAGE: Final = 65_307
_SHORT_CHUNK: Final = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED: Final = 0xFFFF_FFFF  # the chunk length of a wav that was written to a pipe
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
        decoded = _open_soundfile(reader, mix, track) or _open_ffmpeg(reader, mix, track)
        on_error.pop_all()
    return decoded


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """Read from start to end only.

    soundfile would seek after each read, which costs time and fails where headers lie.
    """

    def seekable(self) -> bool:
        """No: soundfile asks before it seeks."""
        return False


def _open_soundfile(reader: Reader, mix: Mix, track: int | None) -> Decoded | None:
    """The recording by libsndfile, or None where that is not for it."""
    is_other = (track or 1) > 1
    head = reader.read(4)
    if _FOR_FFMPEG.match(head) or _is_chained(reader) or (is_other and head == b"OggS"):
        return None
    reader.seek(0)
    try:
        sound = _Forward(reader)
    except soundfile.LibsndfileError:
        reader.check()
        return None
    if is_other:
        raise no_such_track(track or 1, 1)
    return Decoded(sound.samplerate, sound.channels, _blocks(sound, reader, mix))


def _is_chained(reader: Reader) -> bool:
    """Whether an Ogg file ends with a stream that it does not begin with."""
    reader.seek(0)
    head = reader.read(_OGG_LONGEST_PAGE)
    if not head.startswith(b"OggS"):
        return False
    pages = takewhile(lambda page: page[0][0] & _OGG_BEGINS, _OGG_PAGE.findall(head))
    begun = {serial for _, serial in pages}
    reader.seek(max(0, reader.size - _OGG_LONGEST_PAGE))
    *_, (_, last) = [(b"", b""), *_OGG_PAGE.findall(reader.read(_OGG_LONGEST_PAGE))]
    return last not in begun


def _open_ffmpeg(reader: Reader, mix: Mix, track: int | None) -> Decoded:
    from tagger.ffmpeg import open_ffmpeg  # only where it is needed: it takes 0.1 s and 40 MB

    return open_ffmpeg(reader, mix, track)


def _blocks(sound: soundfile.SoundFile, reader: Reader, mix: Mix) -> Generator[FloatArray]:
    """Mono blocks; a ``ClipError`` at the end of a damaged recording."""
    length = block_length(sound.samplerate, sound.channels)
    n_decoded, n_read, broken = 0, 1, ""
    try:
        while n_read and not broken:
            buffer = np.empty((length, sound.channels), np.float32)
            try:
                n_read = len(sound.read(out=buffer))
            except soundfile.LibsndfileError as error:
                broken = error.error_string or "broken data"
                n_read = max(0, sound.tell() - n_decoded)  # decoded before the error
            reader.check()
            n_decoded += n_read
            if n_read:
                yield mix(buffer[:n_read])
        damage = _damage(sound, n_decoded, broken)
    finally:
        sound.close()
        reader.close()
    if damage:
        raise ClipError(Reason.DECODE_ERROR, damage)


def _damage(sound: soundfile.SoundFile, n_decoded: int, broken: str) -> str | None:
    """What is wrong with a recording that was decoded as far as it goes, or None."""
    end = f"decoding stopped at {n_decoded / sound.samplerate:.3f} s"
    if broken:
        return f"{end}: {' '.join(broken.split())}"
    if n_decoded < sound.frames < _NO_LENGTH:
        return f"{end}: the header promises {sound.frames / sound.samplerate:.3f} s"
    chunk = _SHORT_CHUNK.search(sound.extra_info)
    if chunk and int(chunk[1]) > int(chunk[2]) and int(chunk[1]) != _STREAMED:
        return f"{end}: the header promises {chunk[1]} bytes of samples, the file has {chunk[2]}"
    return None


def audio_tracks(source: Source) -> tuple[int, int]:
    """How many audio tracks a recording has, and the number of its default.

    One that cannot be opened has one; decoding it tells why.
    """
    from tagger.ffmpeg import count_tracks

    reader = Reader(source)
    try:
        return count_tracks(reader)
    finally:
        reader.close()
