"""Which audio track of a container is decoded, and what is said of those that cannot be."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile

from tagger import Tagger
from tagger.audio import load, waveform
from tagger.decoding import audio_tracks, decode_blocks
from tagger.errors import ClipError, OptionError, Reason
from tests.support.containers import HIGH, LOW, NONE, RATE, container


def _hz(data: bytes, track: int | None = None) -> float:
    """The frequency of the tone that is decoded."""
    rate, _, blocks = decode_blocks(data, track=track)
    samples = np.concatenate(list(blocks))
    return float(np.abs(np.fft.rfft(samples)).argmax()) * rate / len(samples)


@pytest.mark.parametrize(
    ("kind", "codec"),
    [
        ("matroska", "pcm_s16le"),
        ("mp4", "aac"),
        ("mov", "pcm_s16le"),
        ("mpegts", "mp2"),
        ("ogg", "libopus"),
        ("avi", "pcm_s16le"),
        ("asf", "wmav2"),
    ],
)
def test_each_track_can_be_chosen(kind, codec):
    data = container([LOW, HIGH], kind, codec)
    assert audio_tracks(data) == (2, 1)
    assert _hz(data) == pytest.approx(LOW, abs=2)
    assert _hz(data, 1) == pytest.approx(LOW, abs=2)
    assert _hz(data, 2) == pytest.approx(HIGH, abs=2)


@pytest.mark.parametrize(("kind", "codec"), [("matroska", "pcm_s16le"), ("mp4", "aac")])
def test_without_a_choice_the_default_track_is_taken(kind, codec):
    data = container([LOW, HIGH], kind, codec, default=2)
    assert audio_tracks(data) == (2, 2)
    assert _hz(data) == pytest.approx(HIGH, abs=2)
    assert _hz(data, 1) == pytest.approx(LOW, abs=2)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG:VORBIS", "MP3", "ipod/aac", "PAF"])
def test_a_track_that_is_not_there_is_told_with_how_many_there_are(kind, encode):
    data = encode(np.sin(np.arange(RATE) * 0.1), RATE, kind)
    assert audio_tracks(data) == (1, 1)
    assert load(data, track=1)[0].duration_s == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ClipError) as caught:
        load(data, track=2)
    assert caught.value.reason is Reason.UNSUPPORTED and caught.value.reason.final
    assert caught.value.detail == "no audio track 2: the recording has 1 audio track"
    with pytest.raises(ClipError, match="no audio track 4: the recording has 3 audio tracks"):
        load(container([LOW] * 3), track=4)


def test_silence_is_not_said_of_a_recording_of_which_another_track_sounds():
    data = container([NONE, LOW])
    for track in (None, 1):
        with pytest.raises(ClipError) as caught:
            load(data, track=track)
        assert caught.value.reason is Reason.SILENT
        assert caught.value.detail == "audio track 1 of 2 is silent, but track 2 is not"
    assert waveform(data, track=2)[0].duration_s == 2.0
    with pytest.raises(ClipError, match="every sample is zero"):
        load(container([NONE, NONE]))
    with pytest.raises(ClipError, match="audio track 2 of 2 is silent, but track 1 is not"):
        load(container([LOW, NONE], default=2))


def test_the_tagger_takes_the_track_that_it_is_told():
    data = container([LOW, HIGH], default=2)
    tagger = Tagger.load()

    def embedding(track: int | None) -> np.ndarray:
        return tagger.tag(data, track=track).embeddings["all-taught-s0"]

    np.testing.assert_array_equal(embedding(None), embedding(2))
    assert np.abs(embedding(None) - embedding(1)).max() > 0.01
    with pytest.raises(OptionError, match="track"):
        tagger.tag(data, track=0)


def _encrypted_mp4(fragmented: bool) -> bytes:
    """By Common Encryption, as ffmpeg writes it; the key is not in the file."""
    buffer = io.BytesIO()
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    if fragmented:
        options["movflags"] = "frag_keyframe+empty_moov+default_base_moof"
    with av.open(buffer, "w", format="mp4", options=options) as output:
        stream = output.add_stream("aac", rate=RATE, layout="mono")
        tone = np.sin(np.arange(2 * RATE) * 0.1).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler("fltp", "mono", RATE, 1_024)
        for part in (*resampler.resample(frame), *resampler.resample(None), None):
            output.mux(stream.encode(part))
    return buffer.getvalue()


def _fairplay(encode) -> bytes:
    data = encode(np.sin(np.arange(RATE) * 0.1), RATE, "ipod/aac")
    return data.replace(b"mp4a\0\0\0\0\0\0\0\1", b"drms\0\0\0\0\0\0\0\1", 1)


def _element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + bytes([0x80 | len(content)]) + content


def _encrypted_matroska() -> bytes:
    """A plain file whose track says that it is encrypted, in the place of its title."""
    encryption = _element("47e1", b"\x05") + _element("47e2", b"0123456789abcdef")
    encoding = _element("5033", b"\x01") + _element("5035", encryption)
    added = _element("6d80", _element("6240", encoding))
    title = "x" * (len(added) - 3)
    data = container([LOW], title=title)
    assert _element("536e", title.encode()) in data
    return data.replace(_element("536e", title.encode()), added)


def _protected_asf() -> bytes:
    """The header has a content encryption object, between its own and the next."""
    data = bytearray(container([LOW], "asf", "wmav2"))
    guid = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e")
    added = guid + struct.pack("<Q", 16 + 8 + 16) + struct.pack("<IIII", 0, 0, 0, 0)
    size, count = struct.unpack_from("<QI", data, 16)
    struct.pack_into("<QI", data, 16, size + len(added), count + 1)
    return bytes(data[:30] + added + data[30:])


def _said(data: bytes) -> tuple[Reason, str]:
    with pytest.raises(ClipError) as caught:
        load(data)
    return caught.value.reason, caught.value.detail


@pytest.mark.parametrize("kind", ["cenc", "cenc in fragments", "fairplay", "matroska", "asf"])
def test_encrypted_tracks_are_told(kind, encode):
    data = {
        "cenc": lambda: _encrypted_mp4(fragmented=False),
        "cenc in fragments": lambda: _encrypted_mp4(fragmented=True),
        "fairplay": lambda: _fairplay(encode),
        "matroska": _encrypted_matroska,
        "asf": _protected_asf,
    }[kind]()
    assert _said(data) == (Reason.UNSUPPORTED, "encrypted")


def test_sources_of_every_kind_have_tracks(tmp_path):
    data = container([NONE, LOW])
    path = tmp_path / "a.mka"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert audio_tracks(file) == audio_tracks(path) == audio_tracks(data) == (2, 1)
        assert not file.closed
    assert audio_tracks(b"no audio at all") == (1, 1)


def test_a_wav_of_several_channels_is_one_track():
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros((100, 6)), RATE, format="WAV")
    assert audio_tracks(buffer.getvalue()) == (1, 1)
