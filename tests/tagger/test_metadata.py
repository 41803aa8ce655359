"""Tags around recordings, joined files, and which decoder reads what."""

import io
import struct

import numpy as np
import pytest
import soundfile

from tagger.audio import load
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason

RATE = 48_000
ID3V1 = b"TAG" + b"title".ljust(125, b"\0")
LYRICS = b"LYRICSBEGININD0000200ETT00005hello000034LYRICS200"
LYRICS_THAT_LIE = LYRICS.replace(b"000034", b"000046")
FOOTER_FIRST = b"3DI\4\0\x10\0\0\0\x0a" + bytes(10)


def id3(n: int = 1000, footer: bool = False) -> bytes:
    size = bytes([n >> 21 & 127, n >> 14 & 127, n >> 7 & 127, n & 127])
    head = b"\4\0" + (b"\x10" if footer else b"\0") + size
    return b"ID3" + head + bytes(n) + (b"3DI" + head if footer else b"")


def ape(with_header: bool = True) -> bytes:
    items = struct.pack("<II", 9, 0) + b"replaygain_track_gain\0-6.40 dB\0"

    def block(flags: int) -> bytes:
        return b"APETAGEX" + struct.pack("<IIII", 2000, len(items) + 32, 1, flags) + bytes(8)

    return (block(0xA000_0000) if with_header else b"") + items + block(with_header << 31)


def beeps(seconds: int = 3, rate: int = RATE) -> np.ndarray:
    t = np.arange(seconds * rate) / rate
    return (0.5 * np.sin(2 * np.pi * 300 * (np.floor(t) + 1) * t)).astype("f4")


def decoded(data: bytes) -> tuple[np.ndarray, str | None]:
    pieces = [np.empty(0, "f4")]
    try:
        pieces.extend(decode_blocks(data).blocks)
    except ClipError as error:
        return np.concatenate(pieces), error.detail
    return np.concatenate(pieces), None


KINDS = ["WAV", "FLAC", "AIFF", "OGG:VORBIS", "MP3", "adts/aac", "ac3/ac3", "tta/tta", "wv/wavpack"]
BEHIND = {
    "ID3v1": ID3V1,
    "APE": ape(),
    "APE without header, ID3v1": ape(with_header=False) + ID3V1,
    "Lyrics3, ID3v1": LYRICS + ID3V1,
    "Lyrics3 of another length": LYRICS_THAT_LIE + ID3V1,
    "Lyrics3 v1": b"LYRICSBEGINhello worldLYRICSEND" + ID3V1,
    "ID3v2": id3(footer=True),
}


@pytest.mark.parametrize("kind", KINDS)
class TestTags:
    @pytest.fixture
    def data(self, encode, kind):
        return encode(beeps(), RATE, kind)

    @pytest.mark.parametrize("name", BEHIND)
    def test_behind(self, data, name):
        expected, _ = decoded(data)
        samples, damage = decoded(data + BEHIND[name])
        assert damage is None
        np.testing.assert_array_equal(samples, expected)

    @pytest.mark.parametrize("before", [id3(), id3(10) + id3(300), id3(200_000)])
    def test_before(self, data, before):
        samples, damage = decoded(before + data)
        assert damage is None
        np.testing.assert_array_equal(samples, decoded(data)[0])

    def test_a_cut_before_a_tag_is_told(self, data):
        assert decoded(data[: len(data) // 2 - 3] + ID3V1)[1] is not None


@pytest.mark.parametrize("kind", ["MP3", "mp2/mp2", "adts/aac", "ac3/ac3"])
class TestStreamsWithoutContainer:
    @pytest.mark.parametrize("between", [b"", ID3V1, id3(), ape() + ID3V1 + id3(50)])
    def test_joined(self, encode, kind, between):
        parts = [encode(beeps(n), RATE, kind) for n in (2, 3)]
        samples, damage = decoded(parts[0] + between + parts[1])
        assert damage is None
        n = sum(len(decoded(part)[0]) for part in parts)
        assert len(samples) == pytest.approx(n, abs=0.07 * RATE)  # encoders' delays

    @pytest.mark.parametrize("junk", [bytes(3000), b"some text " * 200, FOOTER_FIRST])
    def test_what_lies_behind_is_no_loss(self, encode, kind, junk):
        data = encode(beeps(10), RATE, kind)
        samples, damage = decoded(data + junk)
        assert damage is None
        assert len(samples) == pytest.approx(len(decoded(data)[0]), abs=0.03 * RATE)

    def test_what_lies_before_is_no_loss(self, encode, kind):
        data = encode(beeps(), RATE, kind)
        samples, damage = decoded(bytes(300) + data)
        assert damage is None
        assert len(samples) == pytest.approx(len(decoded(data)[0]), abs=0.06 * RATE)

    def test_a_hole(self, encode, kind):
        data = encode(beeps(10), RATE, kind)
        middle = len(data) // 2
        samples, damage = decoded(data[:middle] + bytes(3000) + data[middle + 3000 :])
        assert len(samples) > 8 * RATE
        assert damage is not None and "broken data" in damage

    def test_a_file_that_was_never_filled(self, encode, kind):
        """A download that was given its full size beforehand."""
        data = encode(beeps(10), RATE, kind)
        assert decoded(data[: len(data) // 2] + bytes(len(data) // 2))[1] is not None


def test_an_mp3_shorter_than_its_first_frame_says(encode):
    """Whole frames are gone from the end, so nothing but that number tells it."""
    data = encode(beeps(10), 44_100, "MP3")
    frames = [i for i in range(len(data)) if data.startswith(data[:2], i)]
    whole = len(decoded(data)[0])
    cut = next(i for i in frames if i > 0.8 * len(data) and decoded(data[:i])[1])
    samples, damage = decoded(data[:cut])
    assert len(samples) < 0.9 * whole
    assert damage is not None


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 32_000])
def test_delays_of_encoders_are_no_damage(encode, rate):
    for seconds in (1, 3):
        samples, damage = decoded(encode(beeps(seconds, rate), rate, "MP3"))
        assert damage is None
        assert len(samples) == pytest.approx(seconds * rate, abs=4_000)


def riff(codec: int, content: bytes, form: bytes = b"WAVE") -> bytes:
    head = struct.pack("<HHIIHHHHIHHH", codec, 1, RATE, 16_000, 1, 0, 12, 1, 2, 384, 1, 0)
    body = form + b"fmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(("codec", "kind"), [(0x55, "MP3"), (0x50, "mp2/mp2")])
@pytest.mark.parametrize("form", [b"WAVE", b"RMP3"])
def test_mpeg_in_riff(encode, codec, kind, form):
    stream = encode(beeps(), RATE, kind)
    for before in (b"", id3(50)):
        samples, damage = decoded(before + riff(codec, stream, form))
        assert damage is None
        np.testing.assert_array_equal(samples, decoded(stream)[0])
    assert decoded(riff(codec, stream, form)[:-5])[1] is not None


def voc(*blocks: bytes) -> bytes:
    head = b"Creative Voice File\x1a" + struct.pack("<HHH", 26, 0x0114, (~0x0114 + 0x1234) & 0xFFFF)
    return head + b"".join(blocks) + b"\0"


def block(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + struct.pack("<I", len(content))[:3] + content


@pytest.mark.parametrize("size", [8192, 3_000, 1 << 23])
def test_headers_of_voc_blocks_are_no_samples(size):
    pcm = (beeps(5, 16_000) * 32767).astype("<i2").tobytes()
    head = struct.pack("<IBBHI", 16_000, 16, 1, 4, 0)
    parts = [pcm[i : i + size] for i in range(0, len(pcm), size)]
    blocks = [block(9, head + parts[0]), *(block(2, part) for part in parts[1:])]
    samples, damage = decoded(voc(*blocks))
    assert damage is None
    np.testing.assert_allclose(samples, beeps(5, 16_000), atol=1e-4)
    cut = voc(*blocks)[: len(pcm) // 2]
    samples, damage = decoded(cut)
    assert damage is not None
    np.testing.assert_allclose(samples, beeps(5, 16_000)[: len(samples)], atol=1e-4)


def test_old_voc_blocks():
    """Eight bits, with text and a marker between the blocks."""
    half = ((beeps(2, 10_000) * 127) + 128).astype(np.uint8).tobytes()
    head = bytes([256 - 1_000_000 // 10_000, 0])
    data = voc(block(1, head + half), block(5, b"hello\0"), block(4, b"\1\0"), block(2, half))
    samples, damage = decoded(data)
    assert (len(samples), damage) == (40_000, None)


def test_what_libsndfile_gives_up_ffmpeg_goes_on_with(encode):
    """At a change of the channels, in the middle of a file."""
    parts = [encode(np.stack([beeps()] * n, axis=1), RATE, "FLAC") for n in (1, 2)]
    samples, damage = decoded(b"".join(parts))
    assert (len(samples), damage) == (6 * RATE, None)
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.SoundFile(io.BytesIO(parts[0][:100])).read()


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(4), Reason.DECODE_ERROR, ""),
        (b"caff\0\1\0\0desc" + bytes(60), Reason.DECODE_ERROR, "broken header"),
        (id3(100) + b"no sound at all. " * 100, Reason.UNSUPPORTED, "not audio"),
        (riff(0x7799, bytes(4000)), Reason.UNSUPPORTED, "codec"),
    ],
)
def test_the_more_telling_of_two_reasons(data, reason, words):
    with pytest.raises(ClipError) as caught:
        load(data)
    assert caught.value.reason is reason
    assert words in caught.value.detail
