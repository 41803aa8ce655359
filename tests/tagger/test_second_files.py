"""Recordings that name other files and hosts: no decoder may open them.

The kernel tells of every opening of a local file that they name, and a listener stands where their
URLs lead.
"""

import ctypes
import io
import os
import socket
import struct
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tagger.audio import waveform
from tagger.errors import ClipError

Named = tuple[str, str]
"""The path of a local recording, and the host and port of a listener."""

IN_OPEN = 0x20


class Watch:
    """The kernel's account of a folder: which of its files were opened."""

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self._fd, os.fsencode(folder), IN_OPEN) >= 0

    def seen(self) -> bool:
        """Whether anything was opened since the last call."""
        try:
            return bool(os.read(self._fd, 65_536))
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A recording that must not be decoded."""
    folder = tmp_path / "secret"
    folder.mkdir()
    path = folder / "secret.wav"
    path.write_bytes(tone())
    return path


@pytest.fixture
def watch(secret: Path) -> Iterator[Watch]:
    watch = Watch(secret.parent)
    yield watch
    watch.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def tone(seconds: float = 2.0) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        t = np.arange(int(16_000 * seconds)) / 16_000
        file.writeframes((8000 * np.sin(2 * np.pi * 440 * t)).astype("<i2").tobytes())
    return stream.getvalue()


def contained(kind: str, codec: str = "pcm_s16le") -> bytes:
    """Two seconds of a tone in a container."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=kind) as out:
        audio = out.add_stream(codec, rate=16_000)
        with av.open(io.BytesIO(tone())) as source:
            for frame in source.decode(audio=0):
                out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return stream.getvalue()


PLAYLISTS = {
    "m3u": "#EXTM3U\n#EXTINF:2,\n{target}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "hls key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:2,\n{target}\n',
    "plain m3u": "{target}\n",
    "pls": "[playlist]\nNumberOfEntries=1\nFile1={target}\nLength1=2\nVersion=2\n",
    "concat": "ffconcat version 1.0\nfile '{target}'\n",
    "concat, unsafe": "ffconcat version 1.0\noption safe 0\nfile {target}\n",
    "asx": '<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
    "wpl": '<?wpl version="1.0"?><smil><body><seq><media src="{target}"/></seq></body></smil>',
    "smil": '<smil><body><audio src="{target}"/></body></smil>',
    "xspf": '<playlist version="1"><trackList><track><location>{target}</location></track>'
    "</trackList></playlist>",
    "ram": "{target}\n--stop--\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>{target}'
    "</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "smooth": '<SmoothStreamingMedia MajorVersion="2" Duration="1"><StreamIndex Type="audio" '
    'Url="{target}"/></SmoothStreamingMedia>',
    "imf": '<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>{target}</Id></CompositionPlaylist>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio {port} RTP/AVP 0\n"
    "a=control:{target}\n",
    "cue": 'FILE "{target}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "avisynth": 'WavSource("{target}")\n',
    "svg": '<svg xmlns:xlink="http://www.w3.org/1999/xlink"><image xlink:href="{target}"/></svg>',
    "reference": "[Reference]\nRef1={target}?MSWMExt=.asf\n",
    "rtsp": "rtsptextRTSP{target}\n",
    "ffmetadata": ";FFMETADATA1\nfile={target}\n",
    "bytes before": "\0\0\0\0#EXTM3U\n{target}\n",
    "id3 before": "ID3\4\0\0\0\0\0\0#EXTM3U\n#EXTINF:2,\n{target}\n",
}


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        size = struct.unpack(">I", data[:4])[0]
        yield data[4:8], data[8:size]
        data = data[size:]


PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"dinf")


def with_reference(data: bytes, reference: bytes) -> bytes:
    """A QuickTime file whose samples lie in the file that ``reference`` names."""
    return b"".join(
        box(kind, with_reference(content, reference))
        if kind in PARENTS
        else box(kind, struct.pack(">II", 0, 1), reference)
        if kind == b"dref"
        else box(kind, content)
        for kind, content in boxes(data)
    )


def alias(target: str) -> bytes:
    """An alias record of the Macintosh: volume, name, absolute path."""
    path = target.replace("/", ":").encode()
    path += b"\0" * (len(path) % 2)
    name = target.rpartition("/")[2].encode()[:63]
    record = struct.pack(">10xB27s12xB63s16xhh16x", 1, b"x", len(name), name, 1, 1)
    record += struct.pack(">HH", 18, len(path)) + path
    record += struct.pack(">HH", 2, len(path)) + path + struct.pack(">HH", 0xFFFF, 0)
    return box(b"alis", bytes(4), record)


def url(target: str) -> bytes:
    return box(b"url ", bytes(4), target.encode() + b"\0")


def reference_movie(target: str) -> bytes:
    """A QuickTime file that only says where the movie is."""
    where = box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(target) + 1), target.encode())
    return box(b"ftyp", b"qt  ", bytes(4), b"qt  ") + box(
        b"moov", box(b"rmra", box(b"rmda", where))
    )


def element(number: str, content: bytes) -> bytes:
    return bytes.fromhex(number) + struct.pack(">Q", (1 << 56) | len(content)) + content


def linked_segments(target: str) -> bytes:
    """Matroska: a whole file, then a segment that names another as its next, with attachments."""
    info = element("73a4", b"a" * 16) + element("3eb923", b"b" * 16)
    info += element("3e83bb", target.encode()) + element("3c83ab", target.encode())
    file = element("466e", target.encode()) + element("4660", b"audio/x-mpegurl")
    file += element("465c", f"#EXTM3U\n{target}\n".encode()) + element("46ae", b"\1")
    extra = element("1549a966", info) + element("1941a469", element("61a7", file))
    data = contained("matroska")
    at = data.index(b"\x18\x53\x80\x67") + 12
    return data[:at] + extra + data[at:]


BINARY: dict[str, Callable[[str], bytes]] = {
    "mov alias": lambda target: with_reference(contained("mov"), alias(target)),
    "mov url": lambda target: with_reference(contained("mov"), url(target)),
    "mov reference movie": reference_movie,
    "matroska": linked_segments,
    "mxf": lambda target: (
        bytes.fromhex("060e2b34020501010d01020101020400")
        + b"\x83\0\0\x58"
        + bytes(88)
        + bytes.fromhex("060e2b34025301010d01010101013200")
        + bytes([len(target)])
        + target.encode()
    ),
    "wav with a list of files": lambda target: (
        tone() + b"LIST" + struct.pack("<I", 4 + len(target)) + b"file" + target.encode()
    ),
    "real media": lambda target: (
        b".RMF" + struct.pack(">IHII", 18, 0, 0, 0) + b"rtsp" + target.encode()
    ),
    "ogg skeleton": lambda target: (
        contained("ogg", "flac").replace(b"fLaC", b"fishead\0", 1) + target.encode()
    ),
    "avi with a list of files": lambda target: (
        contained("avi").replace(b"idx1", b"file", 1) + target.encode()
    ),
}


def kinds() -> list[tuple[str, Callable[[str, int], bytes]]]:
    def playlist(text: str) -> Callable[[str, int], bytes]:
        return lambda target, port: text.format(target=target, port=port).encode()

    def binary(make: Callable[[str], bytes]) -> Callable[[str, int], bytes]:
        return lambda target, port: make(target)

    texts = [(name, playlist(text)) for name, text in PLAYLISTS.items()]
    return texts + [(name, binary(make)) for name, make in BINARY.items()]


TARGETS = (
    "{path}",
    "file:{path}",
    "file://{path}",
    "secret.wav",
    "http://{host}/secret.wav",
    "https://{host}/secret.wav",
    "tcp://{host}",
    "rtsp://{host}/secret",
    "rtmp://{host}/secret",
    "concat:{path}|{path}",
    "subfile,,start,0,end,0,,:{path}",
    "cache:http://{host}/secret.wav",
    "data:audio/wav;base64,AAAA",
)


@pytest.mark.parametrize("make", [make for _, make in kinds()], ids=[name for name, _ in kinds()])
def test_nothing_else_is_opened(
    make: Callable[[str, int], bytes],
    secret: Path,
    watch: Watch,
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(secret.parent)
    watch.seen()
    port = listener.getsockname()[1]
    for target in TARGETS:
        clip = make(target.format(path=secret, host=f"127.0.0.1:{port}"), port)
        try:
            signal, _ = waveform(clip)
        except ClipError:
            pass
        else:  # what it holds itself; the tone of the other is not told from it, the watch tells
            assert signal.duration_s <= 2.01
        assert not watch.seen(), target
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_watch_sees_what_ffmpeg_opens_if_it_may(
    secret: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(secret.parent)
    watch.seen()
    movie = with_reference(contained("mov"), alias(str(secret)))
    with av.open(io.BytesIO(movie), options={"enable_drefs": "1"}) as container:
        assert container.streams.audio
    assert watch.seen()
    playlist = f"ffconcat version 1.0\nfile '{secret}'\n"
    with av.open(io.BytesIO(playlist.encode()), options={"safe": "0"}) as container:
        assert container.streams.audio
    assert watch.seen()
