"""tagger.decoding and tagger.ffmpeg: formats, damage, hostile bytes, failing stores."""

import io
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagger.audio import load, waveform
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason

RATE = 16_000


def _tone(rate: int = RATE, channels: int = 1, seconds: float = 2.0) -> np.ndarray:
    """440 Hz with half a second of silence on either side, the channels at unequal levels."""
    t = np.arange(int(seconds * rate)) / rate
    tone = 0.6 * np.sin(2 * np.pi * 440 * t) * (np.abs(t - seconds / 2) < seconds / 2 - 0.5)
    return np.outer(tone, np.linspace(1.0, 0.5, channels)).astype(np.float32)


def _noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, n).astype(np.float32)


FORMATS = [
    *(("WAV:" + depth, RATE, 1) for depth in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    *(("WAV:" + depth, RATE, 2) for depth in ("DOUBLE", "ULAW", "IMA_ADPCM", "GSM610")[:3]),
    *(("WAV", rate, 1) for rate in (8_000, 11_025, 96_000, 192_000)),
    *(("WAV", 48_000, 6), ("WAVEX:PCM_24", 48_000, 6), ("AIFF", 44_100, 2), ("CAF", 22_050, 1)),
    *(("FLAC", 44_100, 2), ("FLAC:PCM_24", 96_000, 6), ("OGG:VORBIS", 44_100, 2)),
    *(("OGG:OPUS", 48_000, 2), ("MP3", 44_100, 2), ("MP3", 22_050, 1), ("RF64", RATE, 1)),
    *(("ipod/aac", 44_100, 2), ("ipod/aac", 48_000, 6), ("ipod/alac", 44_100, 2)),
    *(("asf/wmav2", 44_100, 2), ("webm/libopus", 48_000, 2), ("adts/aac", 44_100, 1)),
    *(("mp4/aac+video", 44_100, 2), ("matroska/flac", 44_100, 2), ("mpegts/aac+video", RATE, 1)),
    *(
        ("avi/mp2+video", 44_100, 2),
        ("mov/pcm_s16be", 44_100, 2),
        ("ipod/aac", 48_000, 8),
        ("wav/pcm_s64le", RATE, 2),
    ),
]


@pytest.mark.parametrize(("kind", "rate", "channels"), FORMATS)
def test_formats(encode, kind, rate, channels):
    samples = _tone(rate, channels)
    signal, ours = waveform(encode(samples, rate, kind))
    assert (signal.sample_rate_hz, signal.channels) == (rate, channels)
    assert signal.damage is None
    assert signal.duration_s == pytest.approx(2.0, abs=0.12)  # codecs fill their last frame
    assert signal.peak == pytest.approx(np.abs(samples.mean(axis=1)).max(), rel=0.15)
    spectrum = np.abs(np.fft.rfft(ours[4_000:12_000])) ** 2
    assert spectrum[220] / spectrum.sum() > 0.98  # bin 220 is 440 Hz
    if kind != "asf/wmav2":  # its noise before the tone is louder than 60 dB below it
        assert signal.content_start_s == pytest.approx(0.5, abs=0.2)


def test_mono_is_the_mean_of_the_channels(encode):
    samples = np.random.default_rng(0).uniform(-1, 1, (5_000, 5)).astype(np.float32)
    rate, channels, blocks = decode_blocks(encode(samples, RATE, "WAV:FLOAT"))
    assert (rate, channels) == (RATE, 5)
    np.testing.assert_allclose(np.concatenate(list(blocks)), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 300])
def test_blocks_are_bounded_and_lose_nothing(encode, channels):
    samples = np.tile(_noise(400_000 if channels == 1 else 20_000)[:, None], (1, channels))
    blocks = list(decode_blocks(encode(samples, RATE, "WAV:FLOAT")).blocks)
    assert len(blocks) > 1
    assert max(len(block) * channels for block in blocks) <= 2**22
    np.testing.assert_allclose(np.concatenate(blocks), samples[:, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["a b.wav", "ü#%41.mp3", "line\nbreak.ogg", "x.raw", "x", "x.txt"])
def test_names_decide_nothing(encode, tmp_path, name):
    data = encode(_noise(4_000), RATE, "FLAC")
    path = tmp_path / name
    path.write_bytes(data)
    expected = waveform(data)[1]
    for source in (path, str(path), io.BytesIO(data)):
        np.testing.assert_array_equal(waveform(source)[1], expected)


def test_a_file_object_is_read_from_its_start_and_left_open(encode, tmp_path):
    path = tmp_path / "x"
    for kind in ("FLAC", "MP3"):
        path.write_bytes(encode(_noise(4_000), RATE, kind))
        with path.open("rb") as file:
            file.seek(100)
            np.testing.assert_array_equal(waveform(file)[1], waveform(path)[1])
            assert not file.closed


def _reason(data: bytes) -> Reason:
    with pytest.raises(ClipError) as caught:
        waveform(data)
    assert "\n" not in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"x", Reason.UNSUPPORTED),
        (b"not audio at all. " * 500, Reason.UNSUPPORTED),
        (bytes(5_000), Reason.UNSUPPORTED),
        (np.random.default_rng(3).bytes(50_000), Reason.UNSUPPORTED),
        (b"\x89PNG\r\n\x1a\n" + bytes(1_000), Reason.UNSUPPORTED),
        (b"PK\x03\x04" + bytes(1_000), Reason.UNSUPPORTED),
        (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10), Reason.DECODE_ERROR),
        (b"\xff\xfb" * 2_000, Reason.DECODE_ERROR),
    ],
)
def test_not_audio(data, reason):
    assert _reason(data) is reason


def test_video_without_sound(encode):
    assert _reason(encode(_tone(), RATE, "mp4/+video")) is Reason.UNSUPPORTED


def test_a_sample_rate_that_changes_ends_the_recording(encode):
    parts = (encode(_tone(rate), rate, "adts/aac") for rate in (RATE, 48_000))
    signal, _ = load(b"".join(parts))
    assert signal.duration_s == pytest.approx(2.0, abs=0.12)
    assert signal.damage is not None


@pytest.mark.parametrize("kind", ["OGG:VORBIS", "OGG:OPUS"])
def test_chained_ogg_is_read_to_its_end(encode, kind):
    seconds = (2.0, 3.0, 1.5)
    links = [encode(_tone(48_000, seconds=s), 48_000, kind) for s in seconds]
    signal, samples = waveform(b"".join(links))
    assert signal.duration_s == pytest.approx(sum(seconds), abs=0.05)
    assert signal.damage is None
    # The tone of each link, 0.5 s from its ends, and silence in between
    for middle_s, is_loud in ((1.0, True), (2.0, False), (3.5, True), (5.0, False), (5.75, True)):
        start = round((middle_s - signal.content_start_s) * 16_000) - 2_000
        part = samples[start:][:4_000]
        assert (np.abs(part).max() > 0.3) == is_loud, middle_s


def test_chained_ogg_of_unlike_streams_is_used_as_far_as_it_goes(encode):
    links = (encode(_tone(rate), rate, "OGG:VORBIS") for rate in (RATE, 48_000))
    signal, _ = load(b"".join(links))
    assert signal.duration_s == pytest.approx(2.0, abs=0.05)
    assert signal.damage is not None


def test_streams_that_begin_on_the_way(encode):
    alone, with_video = (encode(_tone(), RATE, f"mpegts/{codec}") for codec in ("aac", "aac+video"))
    for _ in range(20):  # what PyAV does about them depends on stray bytes
        signal, _ = load(alone + with_video)
        assert signal.duration_s > 2.0


def test_an_unknown_codec(encode):
    data = bytearray(encode(_tone(), RATE))
    data[20:22] = b"\x99\x77"
    assert _reason(bytes(data)) is Reason.UNSUPPORTED


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "OGG:VORBIS", "ipod/aac", "asf/wmav2"])
@pytest.mark.parametrize("n", [20, 40])
def test_truncated_header(encode, kind, n):
    data = encode(_tone(), RATE, kind)[:n]
    assert _reason(data) in (Reason.DECODE_ERROR, Reason.EMPTY)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "FLAC", "OGG:VORBIS", "MP3", "adts/aac"])
def test_truncated_middle_is_used_as_far_as_it_goes(encode, kind):
    data = encode(_noise(10 * RATE), RATE, kind)
    whole = np.concatenate(list(decode_blocks(data).blocks))
    signal, pieces = load(data[: len(data) // 2])
    assert 3.5 < signal.duration_s < 6.0
    assert sum(map(len, pieces)) > 3.5 * RATE
    if kind not in ("OGG:VORBIS", "adts/aac"):  # which say nowhere how long they are
        assert signal.damage is not None
    kept = np.concatenate(list(_surviving(data[: len(data) // 2])))
    n = len(kept) - 2_000
    np.testing.assert_allclose(kept[:n], whole[:n], atol=1e-4)


def _surviving(data: bytes):
    try:
        yield from decode_blocks(data).blocks
    except ClipError as error:
        assert error.reason is Reason.DECODE_ERROR


def test_a_hole_in_an_mp3_costs_little_more_than_itself(encode):
    data = bytearray(encode(_noise(20 * RATE), RATE, "MP3"))
    data[len(data) // 2 : len(data) // 2 + 3_000] = bytes(3_000)
    signal, _ = load(bytes(data))
    assert signal.duration_s > 18.0
    assert signal.damage is not None


def _with_length(data: bytes, kind: str, length: int) -> bytes:
    """The recording with another number of samples in its header."""
    changed = bytearray(data)
    if kind == "WAV":
        changed[40:44] = struct.pack("<I", length)
    else:
        changed[21] &= 0xF0
        changed[22:26] = struct.pack(">I", length)
    return bytes(changed)


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_header_that_promises_hours(encode, kind):
    data = _with_length(encode(_noise(RATE), RATE, kind), kind, 10**9)
    signal, ours = waveform(data)
    assert (signal.duration_s, len(ours)) == (1.0, RATE)
    assert signal.damage is not None and "promises" in signal.damage


@pytest.mark.parametrize(("kind", "unknown"), [("WAV", 2**32 - 1), ("FLAC", 0)])
def test_a_header_written_before_the_length_was_known(encode, kind, unknown):
    signal, _ = load(_with_length(encode(_noise(RATE), RATE, kind), kind, unknown))
    assert (signal.duration_s, signal.damage) == (1.0, None)


def test_playlists_open_nothing(encode, tmp_path):
    path = tmp_path / "secret.ts"
    path.write_bytes(encode(_tone(), RATE, "mpegts/aac"))
    for playlist in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{path}'\n",
    ):
        assert _reason(playlist.encode()) is Reason.UNSUPPORTED


class _FailingStore(io.BytesIO):
    """Answers the first 100 kB, then fails."""

    def read(self, n: int | None = -1) -> bytes:
        if self.tell() > 100_000:
            raise ConnectionResetError("the store is gone")
        return super().read(n)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG:VORBIS", "MP3", "ipod/aac", "AIFF"])
def test_an_outage_of_the_store_is_not_blamed_on_the_recording(encode, kind):
    data = encode(np.tile(_noise(RATE * 60)[:, None], (1, 2)), RATE, kind)
    with pytest.raises(ConnectionResetError, match="the store is gone"):
        waveform(_FailingStore(data))


def _mutated(data: bytes, draw: st.DrawFn) -> bytes:
    """Bytes changed, lost or added, most of them in the header; or the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 8))):
        zone = draw(st.sampled_from([64, 512, len(data)]))
        at = draw(st.integers(0, zone))
        patch = draw(
            st.binary(min_size=1, max_size=8)
            | st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"])
        )
        changed[at : at + draw(st.sampled_from([len(patch), 0, 40]))] = patch
    return bytes(changed[: draw(st.none() | st.integers(0, len(changed)))])


FUZZED = ["WAV", "WAV:FLOAT", "FLAC", "OGG:VORBIS", "MP3", "ipod/aac", "CAF:ALAC_16"]


@pytest.mark.parametrize("kind", FUZZED)
def test_broken_bytes_give_samples_or_a_clip_error(encode, kind, capfd):
    original = encode(np.stack([_noise(24_000)] * 2, axis=1), RATE, kind)

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data: st.DataObject) -> None:
        mutated = data.draw(st.composite(lambda draw: _mutated(original, draw))())
        try:
            signal, ours = waveform(mutated, max_hours=0.05)
        except ClipError as error:
            assert "\n" not in error.detail
            return
        assert ours.dtype == np.float32 and len(ours) and np.isfinite(ours).all()
        assert 0 <= signal.content_start_s < signal.content_end_s <= signal.duration_s

    check()
    assert capfd.readouterr() == ("", "")
