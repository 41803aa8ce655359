"""How long recordings are: headers that err, files that are cut off, what lies around the sound.

Second k of every recording is a tone of 300 (k + 1) Hz, so that each can be told from the others.
"""

import io
import re
import struct

import av
import numpy as np
import pytest
import soundfile

from tagger.audio import load
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason

RATE = 16_000
SECONDS = 5
N = SECONDS * RATE
GARBAGE = b"no chunk, no tag, no sound. " * 20


def beeps(seconds: int = SECONDS, rate: int = RATE) -> np.ndarray:
    t = np.arange(seconds * rate) / rate
    return (0.5 * np.sin(2 * np.pi * 300 * (np.floor(t) + 1) * t) * (t % 1 < 0.9)).astype("f4")


PCM = (beeps() * 32767).astype("<i2").tobytes()


def decoded(data: bytes) -> tuple[np.ndarray, str | None]:
    """All samples, and the damage."""
    pieces = []
    try:
        pieces.extend(decode_blocks(data).blocks)
    except ClipError as error:
        assert error.reason is Reason.DECODE_ERROR
        return np.concatenate(pieces), error.detail
    return np.concatenate(pieces), None


def is_whole(data: bytes, n: int = N) -> bool:
    """Whether a recording of 16-bit beeps decodes to exactly them, without damage."""
    samples, damage = decoded(data)
    same = len(samples) == n and np.abs(samples - beeps(n // RATE)).max() < 1e-4
    return bool(same) and damage is None


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def wav(data: bytes = PCM, size: int | None = None, riff: int | None = None, **more) -> bytes:
    """A wav file that says of its samples that they are ``size`` bytes."""
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    body = b"WAVE" + more.get("before", b"") + form + chunk(b"data", data, size)
    body += more.get("behind", b"")
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def large_wav(size: int, name: bytes = b"RF64", short: int = 0xFFFF_FFFF) -> bytes:
    """A wav file whose lengths have 64 bits."""
    sizes = chunk(b"ds64", struct.pack("<QQQI", size, size, size // 2, 0))
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
    data = b"data" + struct.pack("<I", short) + PCM
    return name + b"\xff\xff\xff\xffWAVE" + sizes + form + data


def written(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, beeps(), RATE, "PCM_16", format=kind)
    return buffer.getvalue()


def with_size(kind: str, size: int) -> bytes:
    """A recording of a kind whose header says that its samples are ``size`` bytes."""
    if kind == "WAV":
        return wav(size=size)
    if kind in ("RF64", "BW64"):
        return large_wav(size, kind.encode())
    data = bytearray(written(kind))
    mark, form, more = {
        "W64": (b"data\xf3\xac\xd3\x11\x8c\xd1\0\xc0\x4f\x8e\xdb\x8a", "<Q", 24),
        "AIFF": (b"SSND", ">I", 8),
        "CAF": (b"data", ">Q", 4),
        "AU": (b".snd" + bytes(data[4:8]), ">I", 0),
    }[kind]
    at = data.index(mark) + len(mark)
    n_bits = 8 * struct.calcsize(form)
    struct.pack_into(form, data, at, min(size + more, 2**n_bits - 1))
    return bytes(data)


SHORT = (0, 0xFFFF_FFFF, 0xFFFF_FFDB, 0x7FFF_F000, 0x7FFF_FFFF, 0x7FFF_F024, 0x8000_0000)
LONG = (0, 2**64 - 1, 2**63 - 1)
UNKNOWN = [
    *((kind, size) for kind in ("WAV", "AIFF", "AU") for size in SHORT),
    *((kind, size) for kind in ("RF64", "BW64", "W64", "CAF") for size in LONG),
]


@pytest.mark.parametrize(("kind", "size"), UNKNOWN)
def test_a_length_that_was_not_known_is_no_length(kind, size):
    assert is_whole(with_size(kind, size))


@pytest.mark.parametrize("kind", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"])
class TestAnnouncedLengths:
    def test_right_ones(self, kind):
        assert is_whole(with_size(kind, len(PCM)))

    def test_old_ones_are_told(self, kind):
        """A recorder that lost power wrote the header last when there was a second."""
        samples, damage = decoded(with_size(kind, 2 * RATE))
        assert len(samples) == RATE
        assert damage is not None and str(len(PCM) - 2 * RATE) in damage

    def test_cut_off(self, kind):
        data = with_size(kind, len(PCM))
        for cut, at_least in ((data[: len(data) // 2], 0.45), (data[:-3], 0.99)):
            samples, damage = decoded(cut)
            assert at_least * N <= len(samples) < N
            assert damage is not None and "promises" in damage

    def test_garbage_behind(self, kind):
        samples, damage = decoded(with_size(kind, len(PCM)) + GARBAGE)
        assert len(samples) == N
        assert damage is not None and str(len(GARBAGE)) in damage

    @pytest.mark.parametrize("padding", [b"\n", bytes(512)])
    def test_padding_is_no_damage(self, kind, padding):
        assert is_whole(with_size(kind, len(PCM)) + padding)


def test_silence_is_not_said_of_what_the_header_leaves_out():
    head, rest = bytes(2 * RATE), PCM
    samples, damage = decoded(wav(head + rest, size=len(head), riff=len(head) + 36))
    assert len(samples) == N + RATE
    assert np.abs(samples).max() > 0.4
    assert damage is None


def test_nothing_is_nothing():
    listed = chunk(b"LIST", b"INFOICMT\6\0\0\0hello\0")
    for data in (wav(b""), wav(b"", behind=listed), large_wav(0)[: -len(PCM)]):
        with pytest.raises(ClipError) as caught:
            load(data)
        assert caught.value.reason is Reason.EMPTY
    with pytest.raises(ClipError) as caught:
        load(wav(b"", size=len(PCM)))
    assert caught.value.reason is Reason.DECODE_ERROR  # all of it is missing


def test_chunks_behind_the_samples():
    listed = chunk(b"LIST", b"INFOICMT\6\0\0\0hello\0")
    odd = b"LIST" + struct.pack("<I", 21) + b"INFOICMT\x09\0\0\0AudioMoth"
    for behind in (listed, odd, listed + bytes(100), listed + chunk(b"id3 ", b"ID3" + bytes(7))):
        assert is_whole(wav(behind=behind))
    assert is_whole(wav(behind=listed)[:-5])  # what is cut off is no sound
    for behind in (wav(), listed + GARBAGE):  # another file, joined
        assert decoded(wav() + behind)[1] is not None


def test_a_junk_chunk_before(encode):
    assert is_whole(wav(before=chunk(b"JUNK", bytes(27)) + chunk(b"bext", bytes(602))))


@pytest.mark.parametrize("n", [N, N - 1000, N - 3000])
def test_alac_in_caf_is_decoded_to_its_end(encode, n):
    samples, damage = decoded(encode(beeps()[:n], RATE, "CAF:ALAC_16"))
    assert (len(samples), damage) == (n, None)
    np.testing.assert_allclose(samples, beeps()[:n], atol=1e-4)


def flac(seconds: int = SECONDS, total: int | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, beeps(seconds), RATE, "PCM_16", format="FLAC")
    data = bytearray(buffer.getvalue())
    if total is not None:
        data[21] = data[21] & 0xF0 | total >> 32
        data[22:26] = struct.pack(">I", total & 0xFFFF_FFFF)
    return bytes(data)


@pytest.mark.parametrize("total", [0, 1, RATE, N - 1, N])
def test_flac_is_decoded_to_its_last_frame(total):
    assert is_whole(flac(total=total))


def test_flac_that_is_shorter_than_it_says():
    for data in (flac(total=N + 1), flac()[: len(flac()) // 2], flac()[:-1], flac(total=0)[:-1]):
        samples, damage = decoded(data)
        assert len(samples) > 0.4 * N
        assert damage is not None


@pytest.mark.parametrize("between", [b"", b"TAG" + bytes(125), b"ID3\4\0\0\0\0\1\0" + bytes(128)])
@pytest.mark.parametrize("total", [None, 0])
def test_flac_streams_one_after_another(total, between):
    samples, damage = decoded(flac(2, total) + between + flac(3) + between + flac(1, total))
    assert damage is None
    expected = np.concatenate([beeps(2), beeps(3), beeps(1)])
    np.testing.assert_allclose(samples, expected, atol=1e-4)


def test_a_hole_in_flac_costs_little_more_than_itself():
    data = bytearray(flac())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    samples, damage = decoded(bytes(data))
    assert 0.8 * N < len(samples) < N
    assert np.abs(samples).max() < 0.6  # a broken frame would be noise
    assert damage is not None and "promises" in damage


FRAMED = ["MP3", "mp2/mp2", "adts/aac", "ac3/ac3", "eac3/eac3"]
BOXED = [
    "matroska/aac",
    "webm/libopus",
    "flv/aac",
    "asf/wmav2",
    "avi/mp2",
    "mpegts/aac",
    "wv/wavpack",
]
PAGED = ["OGG:VORBIS", "OGG:OPUS", "ogg/flac"]


def encoded(encode, kind: str, seconds: int = SECONDS) -> bytes:
    rate = 44_100 if kind.startswith("flv") else 48_000
    return encode(beeps(seconds, rate), rate, kind)


@pytest.mark.parametrize("kind", [*FRAMED, *BOXED, *PAGED, "SVX", "AVR", "NIST", "tta/tta"])
def test_a_file_that_is_cut_in_half(encode, kind):
    data = encoded(encode, kind, 2 * SECONDS)
    whole, damage = decoded(data)
    assert damage is None
    half, damage = decoded(data[: len(data) // 2 - 13])
    assert 0.2 < len(half) / len(whole) < 0.8
    assert damage is not None


@pytest.mark.parametrize("kind", [*FRAMED, *PAGED, "mpegts/aac"])
def test_the_last_frame_or_page_is_cut(encode, kind):
    data = encoded(encode, kind)
    for n in (1, 5):
        samples, damage = decoded(data[:-n])
        assert len(samples) > 0.7 * 48_000 * SECONDS
        assert damage is not None and re.search("incomplete|cut off", damage)


def _faststart(tmp_path, samples: np.ndarray, codec: str) -> bytes:
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w", options={"movflags": "faststart"}) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, "mono", 48_000, size)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))
    return path.read_bytes()


@pytest.mark.parametrize("codec", ["aac", "alac"])
def test_mp4_that_is_cut(tmp_path, codec):
    data = _faststart(tmp_path, beeps(SECONDS, 48_000), codec)
    assert decoded(data)[1] is None
    for n in (len(data) // 2, len(data) - 1):
        samples, damage = decoded(data[:n])
        assert len(samples) > 1.5 * 48_000
        assert damage is not None


@pytest.mark.parametrize("kind", ["OGG:VORBIS", "OGG:OPUS", "ogg/flac"])
def test_ogg_that_ends_before_its_sound(encode, kind):
    data = encoded(encode, kind)
    pages = [match.start() for match in re.finditer(b"OggS", data)]
    for end in (pages[1], pages[1] + 40, pages[2]):
        with pytest.raises(ClipError) as caught:
            load(data[:end])
        assert caught.value.reason is Reason.DECODE_ERROR


def test_a_lost_page_is_told(encode):
    data = encoded(encode, "OGG:VORBIS", 20)
    pages = [match.start() for match in re.finditer(b"OggS", data)]
    samples, damage = decoded(data[: pages[4]] + data[pages[5] :])
    assert len(samples) < 20 * 48_000
    assert damage is not None


def test_video_that_is_longer_than_its_sound_is_whole(encode):
    data = encode(beeps(2, 44_100), 44_100, "mp4/aac+video")
    assert decoded(data)[1] is None


def test_silence_before_a_cut_is_not_silence():
    quiet = np.concatenate([np.zeros(N, "f4"), beeps()])
    buffer = io.BytesIO()
    soundfile.write(buffer, quiet, RATE, "PCM_16", format="WAV")
    with pytest.raises(ClipError) as caught:
        load(buffer.getvalue()[: 2 * N - 1000])
    assert caught.value.reason is Reason.DECODE_ERROR
    assert "zero" in caught.value.detail and "promises" in caught.value.detail
