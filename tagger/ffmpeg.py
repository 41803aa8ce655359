"""Recordings by PyAV (ffmpeg) that are not for libsndfile: m4a, mp3, wma, webm, caf, video.

Of several audio streams one is read, which ``tagger.tracks`` chooses. Its samples are laid end to
end from time 0: encoder delay is cut off by ffmpeg; gaps, and a start later than the video's, are
not filled.

ffmpeg may only use the plain containers of ``_CONTAINERS`` and no protocol, so that no playlist,
script or reference can make it open other files. It writes nothing to stderr, which is PyAV's
default.
"""

import re
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Final

import av
import av.error
import numpy as np
from av import AudioFrame, AudioStream, Packet
from av.container import InputContainer

from tagger import frames, tracks
from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.recording import NOT_AUDIO, Decoded, Reader, block_length

_CONTAINERS: Final = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dss,dts,dtshd,eac3,flac,flv,gsm,iff,loas,matroska,mlp"
    ",mov,mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv"
)
_STATE_LENGTH: Final = re.compile("mov|matroska|asf|flv|ape|mpc|tak|tta|wv")
"""Containers whose length is written in them; of others ffmpeg guesses it from the bit rate."""
_LONGEST_FRAME: Final = 2_880  # bytes of a frame of mp3
_DELAYS: Final = 4_000  # samples at both ends that encoders of mp3 add and ffmpeg takes away
_MAX_PLANES: Final = 8
_SIGNATURES: Final = re.compile(
    rb"RIFF....(WAVE|AVI )|RF64....WAVE|FORM....AIF|caff|fLaC|OggS|ID3|\xff[\xe0-\xff]"
    rb"|....(ftyp|moov)|\x1a\x45\xdf\xa3|\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    re.DOTALL,
)
"""First bytes of wav, avi, aiff, caf, flac, ogg, mp3, mp4, matroska, asf: meant to hold audio."""


def open_ffmpeg(reader: Reader, track: int | None) -> Decoded:
    """Open a recording with ffmpeg and decode it, (n, channels) a block.

    Rate and channels are those of the first frame, since headers err.

    Parameters
    ----------
    reader : the recording; it is read from its start
    track : number, from 1, of the audio track to decode; None: the container's default

    Raises
    ------
    ClipError : ``EMPTY``, ``UNSUPPORTED`` or ``DECODE_ERROR``
    OSError : the source itself cannot be read
    """
    container = _container(reader)
    stream = tracks.choose(container, track)
    tracks.refuse_encrypted(container, stream, reader)
    if stream.codec_context is None:
        raise ClipError(Reason.UNSUPPORTED, "a codec that ffmpeg does not know")
    decoded = _frames(container, stream, reader)
    try:
        first = next(decoded, None)
    except ClipError:
        if tracks.looks_encrypted(reader):
            raise tracks.encrypted() from None
        raise
    if first is None:
        raise ClipError(Reason.EMPTY, f"no samples ({container.format.name})")
    blocks = _blocks(chain([first], decoded), first.sample_rate, container)
    return Decoded(first.sample_rate, first.layout.nb_channels, blocks)


def count_tracks(reader: Reader) -> tuple[int, int]:
    """How many audio tracks there are, one at least, and the number of the default."""
    try:
        with _container(reader) as container:
            return max(1, len(container.streams.audio)), tracks.default_number(container)
    except ClipError:
        return 1, 1


def _container(reader: Reader) -> InputContainer:
    reader.seek(0)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
    try:
        return av.open(reader, "r", options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        reader.check()
        raise _not_opened(reader, error) from None


def _not_opened(reader: Reader, error: av.error.FFmpegError) -> ClipError:
    """Why ffmpeg could not open it: broken audio, or no audio at all."""
    if tracks.looks_encrypted(reader):
        return tracks.encrypted()
    if _SIGNATURES.match(reader.read_at(0, 16)):
        return ClipError(Reason.DECODE_ERROR, f"broken header: {error.strerror}")
    return ClipError(Reason.UNSUPPORTED, NOT_AUDIO)


def _frames(container: InputContainer, stream: AudioStream, reader: Reader) -> Iterator[AudioFrame]:
    """Frames of an audio stream.

    Broken packets are left out; if sound was lost with them, or the stream is far shorter than its
    header says, a ``ClipError`` ends it.
    """
    decoded_s, stopped = 0.0, ""
    losses = frames.Losses(container.format.name)
    if stream.codec_context.name == "flac":  # which gives noise for a broken frame otherwise
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    try:
        for packet in container.demux(stream):
            tracks.refuse_encrypted_packet(packet)
            for frame in _decoded(packet, losses, decoded_s):
                yield frame
                decoded_s += frame.samples / frame.sample_rate
    except av.error.FFmpegError as error:
        stopped = f"decoding stopped at {decoded_s:.3f} s: {error.strerror}"
    except IndexError:  # PyAV, after the last packet: other streams that began on the way (mpegts)
        pass
    broken = losses.told(reader) or stopped or _cut_short(container, stream, reader, decoded_s)
    reader.check()
    if broken:
        raise ClipError(Reason.DECODE_ERROR, broken)


def _decoded(
    packet: "Packet[AudioStream]", losses: frames.Losses, decoded_s: float
) -> list[AudioFrame]:
    """The frames of a packet, as far as they can be decoded."""
    try:
        found = packet.decode()
    except av.error.FFmpegError as error:
        found = _decoded_in_part(
            packet, losses, f"broken data at {decoded_s:.3f} s: {error.strerror}"
        )
    else:
        if packet.size:  # the one that ends the stream is empty
            losses.decoded(packet, packet.pos or 0)
    return [frame for frame in found if frame.samples]


def _decoded_in_part(
    packet: "Packet[AudioStream]", losses: frames.Losses, trouble: str
) -> list[AudioFrame]:
    """The frames at either end of a packet that is broken as a whole."""
    data, place = bytes(packet), packet.pos or 0
    part = losses.frames_in(data)
    found = _decoded_alone(data[part], packet.stream)
    part = part if found else slice(0, 0)
    losses.not_decoded(data[: part.start], place, trouble)
    if found:
        losses.decoded(data[part], place + part.start)
    losses.not_decoded(data[part.stop :], place + part.stop, trouble)
    return found


def _decoded_alone(data: bytes, stream: AudioStream) -> list[AudioFrame]:
    """The frames of a part of a packet; none where it is broken."""
    try:
        return stream.codec_context.decode(Packet(data)) if data else []
    except av.error.FFmpegError:
        return []


def _cut_short(
    container: InputContainer, stream: AudioStream, reader: Reader, decoded_s: float
) -> str:
    """What is missing of the length in the header, or "" where so little that it means nothing.

    Such lengths are the container's, not the codec's, so they need not be exact.
    """
    if container.format.name == "mp3":
        promised_s = frames.announced_s(reader.read_at(0, _LONGEST_FRAME))
        missing = decoded_s < promised_s - _DELAYS / max(1, stream.codec_context.sample_rate)
    elif _STATE_LENGTH.match(container.format.name):
        promised_s = float((stream.duration or 0) * (stream.time_base or 0))
        if not promised_s and len(container.streams) == 1:
            promised_s = (container.duration or 0) / av.time_base
        missing = decoded_s <= 0.9 * promised_s - 1.0
    else:
        return ""
    end = f"decoding stopped at {decoded_s:.3f} s"
    return f"{end}: the header promises {promised_s:.3f} s" if missing else ""


def _blocks(
    decoded: Iterator[AudioFrame], sample_rate_hz: int, container: InputContainer
) -> Generator[FloatArray]:
    """Frames joined to blocks, (n, channels); a change of the sample rate ends the recording."""
    unpacker = _Unpacker()
    pieces: list[FloatArray] = []
    n = full = 0
    damage: ClipError | None = None
    try:
        for frame in decoded:
            if frame.sample_rate != sample_rate_hz:
                raise ClipError(Reason.DECODE_ERROR, "the sample rate changes on the way")
            samples = unpacker.samples(frame)
            if pieces and (n >= full or samples.shape[1] != pieces[0].shape[1]):
                yield np.concatenate(pieces)
                pieces, n = [], 0
            if not pieces:
                full = block_length(sample_rate_hz, samples.shape[1])
            pieces.append(samples)
            n += len(samples)
    except ClipError as error:
        damage = error
    finally:
        container.close()
    if n:
        yield np.concatenate(pieces)
    if damage:
        raise damage


class _Unpacker:
    """Frames of any kind as float32 in [-1, 1].

    What most decoders give, float planes, is read as it is (PyAV takes a frame of 8 or more planes
    for one with more planes than it has, and ``to_ndarray`` crashes); all else ffmpeg converts.
    """

    def __init__(self) -> None:
        self._kind: tuple[str, str] | None = None
        self._packer = av.AudioResampler("flt")

    def samples(self, frame: AudioFrame) -> FloatArray:
        """The samples of a frame, (n, channels); ``ClipError`` where ffmpeg cannot convert them."""
        channels = frame.layout.nb_channels
        if frame.format.name == "fltp" and channels < _MAX_PLANES:
            planes = [
                np.frombuffer(memoryview(plane), np.float32, frame.samples)
                for plane in frame.planes
            ]
            return np.stack(planes, axis=1) if channels > 1 else planes[0][:, None]
        kind = (frame.format.name, frame.layout.name)
        if kind != self._kind:
            self._kind, self._packer = kind, av.AudioResampler("flt")
        try:
            packed = [part.to_ndarray()[0] for part in self._packer.resample(frame)]
        except av.error.FFmpegError:
            raise ClipError(Reason.UNSUPPORTED, f"samples of the kind {kind}") from None
        return np.concatenate(packed).reshape(-1, channels)
