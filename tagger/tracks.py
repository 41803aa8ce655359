"""The audio tracks of a container: which one is taken, and whether it can be decoded.

Tracks are numbered from 1 in the order of the container. Its default is the first that it marks as
such, else the first of all.
"""

import re
from typing import Final

from av import AudioStream, Packet
from av.container import InputContainer
from av.stream import Disposition

from tagger.errors import ClipError, Reason
from tagger.recording import Reader, no_such_track

_HEADER_BYTES: Final = 1 << 20
_PROTECTED_TAGS: Final = ("drms", "aavd")  # FairPlay, Audible
_PROTECTED_ENTRY: Final = re.compile(rb"(enca|drms|aavd)\0{6}")  # of an mp4's sample descriptions
_ASF_PROTECTION: Final = re.compile(
    rb"\xfb\xb3\x11\x22\x23\xbd\xd2\x11\xb4\xb7\x00\xa0\xc9\x55\xfc\x6e"
    rb"|\x14\xe6\x8a\x29\x22\x26\x17\x4c\xb9\x35\xda\xe0\x7e\xe9\x28\x9c"
)
"""The objects "content encryption" and "extended content encryption" of an ASF header."""


def default_number(container: InputContainer) -> int:
    """The number of the track that the container marks as its default, else 1."""
    marked = (bool(stream.disposition & Disposition.default) for stream in container.streams.audio)
    return next((number for number, is_default in enumerate(marked, 1) if is_default), 1)


def choose(container: InputContainer, track: int | None) -> AudioStream:
    """The track of that number, or the default; ClipError where there is none."""
    streams = container.streams.audio
    if not streams:
        raise ClipError(Reason.UNSUPPORTED, f"no audio stream ({container.format.name})")
    number = track or default_number(container)
    if number > len(streams):
        raise no_such_track(number, len(streams))
    return streams[number - 1]


def refuse_encrypted(container: InputContainer, stream: AudioStream, reader: Reader) -> None:
    """Raise ``ClipError`` where the header says that the track is encrypted."""
    is_asf = container.format.name == "asf"
    if (
        _codec_tag(stream) in _PROTECTED_TAGS
        or "enc_key_id" in stream.metadata  # Matroska
        or (is_asf and _ASF_PROTECTION.search(_header(reader)))
    ):
        raise encrypted()


def _codec_tag(stream: AudioStream) -> str:
    """The four letters of the codec; "" where ffmpeg does not know it, or they are no letters."""
    try:
        return stream.codec_context.codec_tag if stream.codec_context else ""
    except UnicodeDecodeError:  # a number, as in wav
        return ""


def refuse_encrypted_packet(packet: "Packet[AudioStream]") -> None:
    """Raise ``ClipError`` where a packet is encrypted, as by Common Encryption in mp4."""
    if packet.has_sidedata("encryption_info"):
        raise encrypted()


def looks_encrypted(reader: Reader) -> bool:
    """Whether a recording that ffmpeg cannot read holds an encrypted track in an mp4."""
    return bool(_PROTECTED_ENTRY.search(_header(reader)))


def encrypted() -> ClipError:
    return ClipError(Reason.UNSUPPORTED, "encrypted")


def _header(reader: Reader) -> bytes:
    """The first bytes; what reads the recording meanwhile goes on where it was."""
    position = reader.tell()
    reader.seek(0)
    header = reader.read(_HEADER_BYTES)
    reader.seek(position)
    return header
