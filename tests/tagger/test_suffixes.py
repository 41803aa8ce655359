"""Every suffix that is listed as audio names files that can be read here."""

import struct
from collections.abc import Callable

import av
import numpy as np
import pytest

from tagger import ffmpeg
from tagger.audio import load
from tagger.recording import AUDIO_SUFFIXES

RATE = 48_000
ENCODED = {
    "WAV": ".wav .wave .bwf",
    "RF64": ".rf64",
    "W64": ".w64",
    "FLAC": ".flac",
    "OGG:VORBIS": ".ogg .oga",
    "OGG:OPUS": ".opus",
    "MP3": ".mp3 .mpga",
    "AIFF": ".aif .aiff .aifc",
    "AU": ".au .snd",
    "CAF": ".caf",
    "VOC": ".voc",
    "NIST": ".sph .nist",
    "IRCAM": ".ircam .sf",
    "PAF": ".paf",
    "SVX": ".iff .svx .8svx",
    "AVR": ".avr",
    "PVF": ".pvf",
    "SDS": ".sds",
    "WVE": ".wve",
    "XI": ".xi",
    "HTK": ".htk",
    "mp2/mp2": ".mp2",
    "ipod/aac": ".m4a .m4b .m4r",
    "adts/aac": ".aac .adts",
    "ac3/ac3": ".ac3",
    "eac3/eac3": ".eac3 .ec3",
    "asf/wmav2": ".wma .asf .wmv",
    "webm/libopus": ".webm .weba",
    "matroska/aac+video": ".mkv",
    "matroska/aac": ".mka",
    "amr/libopencore_amrnb": ".amr",
    "wv/wavpack": ".wv",
    "tta/tta": ".tta",
    "rm/real_144": ".rm .ra",
    "mp4/aac+video": ".mp4 .m4v",
    "mov/alac": ".mov .qt",
    "avi/mp2+video": ".avi",
    "flv/aac": ".flv",
    "f4v/aac": ".f4v",
    "mpeg/mp2": ".mpg .mpeg",
    "vob/mp2": ".vob",
    "mpegts/aac": ".ts .mts .m2ts",
    "ogg/flac": ".ogv",
    "3gp/aac": ".3gp",
    "3g2/aac": ".3g2",
}
RATES = {"WVE": 8_000, "amr/libopencore_amrnb": 8_000, "rm/real_144": 8_000, "flv/aac": 44_100}


def _dsd_bits() -> bytes:
    """A second of a square wave in one-bit samples, 2822400 of them."""
    t = np.arange(2_822_400 // 8) / (2_822_400 / 8)
    return np.where(np.sin(2 * np.pi * 440 * t) > 0, 0x77, 0x88).astype(np.uint8).tobytes()


def _dsf() -> bytes:
    bits = _dsd_bits()
    bits += b"\x69" * (-len(bits) % 4096)
    form = struct.pack("<QIIIIIIQII", 52, 1, 0, 1, 1, 2_822_400, 1, 2_822_400, 4096, 0)
    data = b"data" + struct.pack("<Q", 12 + len(bits)) + bits
    return b"DSD " + struct.pack("<QQQ", 28, 80 + len(data), 0) + b"fmt " + form + data


def _dff() -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack(">Q", len(content)) + content + bytes(len(content) % 2)

    properties = b"SND " + chunk(b"FS  ", struct.pack(">I", 2_822_400))
    properties += chunk(b"CHNL", struct.pack(">H", 1) + b"C   ")
    properties += chunk(b"CMPR", b"DSD \x0enot compressed\0")
    body = b"DSD " + chunk(b"FVER", b"\1\5\0\0") + chunk(b"PROP", properties)
    return chunk(b"FRM8", body + chunk(b"DSD ", _dsd_bits()))


def _gsm() -> bytes:
    frames = np.random.default_rng(0).integers(0, 256, (250, 33), np.uint8)
    frames[:, 0] = frames[:, 0] & 0x0F | 0xD0
    return frames.tobytes()


MADE: dict[str, Callable[[], bytes]] = {".dsf": _dsf, ".dff": _dff, ".gsm": _gsm}
KNOWN = {  # what cannot be made here: demuxer, decoder
    ".mp1": ("mp3", "mp1float"),
    ".spx": ("ogg", "speex"),
    ".awb": ("amr", "libopencore_amrwb"),
    ".ape": ("ape", "ape"),
    ".tak": ("tak", "tak"),
    ".mpc": ("mpc8", "mpc8"),
    ".shn": ("shn", "shorten"),
    ".thd": ("truehd", "truehd"),
    ".mlp": ("mlp", "mlp"),
    ".dts": ("dts", "dca"),
    ".oma": ("oma", "atrac3p"),
    ".dss": ("dss", "dss_sp"),
    ".mxf": ("mxf", "pcm_s16le"),
}


def test_every_suffix_is_here():
    encoded = {suffix for suffixes in ENCODED.values() for suffix in suffixes.split()}
    assert encoded | MADE.keys() | KNOWN.keys() == AUDIO_SUFFIXES


@pytest.mark.parametrize("kind", ENCODED)
def test_files_that_are_encoded(encode, kind):
    rate = RATES.get(kind, RATE)
    samples = 0.5 * np.sin(np.arange(2 * rate) * 2 * np.pi * 440 / rate).astype("f4")
    subtype = {"WVE": ":ALAW", "XI": ":DPCM_16"}.get(kind, "")
    signal, blocks = load(encode(samples, rate, kind + subtype))
    assert signal.damage is None
    expected_s = 2 * rate / 44_100 if kind == "XI" else 2.0  # it has no rate
    assert signal.duration_s == pytest.approx(expected_s, abs=0.25)
    assert sum(map(len, blocks)) > 0


@pytest.mark.parametrize("suffix", MADE)
def test_files_that_are_made_by_hand(suffix):
    data = MADE[suffix]()
    whole, _ = load(data)
    assert whole.duration_s == pytest.approx(5.0 if suffix == ".gsm" else 1.0, abs=0.01)
    assert whole.damage is None
    signal, _ = load(data[: len(data) // 2 + 5])
    assert signal.duration_s < 0.6 * whole.duration_s
    assert signal.damage is not None


@pytest.mark.parametrize(("suffix", "names"), KNOWN.items())
def test_this_build_knows_the_others(suffix, names):
    demuxer, decoder = names
    assert demuxer in ffmpeg._CONTAINERS.split(",")
    assert demuxer in av.formats_available
    assert not av.codec.Codec(decoder, "r").is_encoder
