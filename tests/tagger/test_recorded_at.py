"""When a recording was made."""

import io
import struct
from datetime import datetime

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tagger import audio
from tagger.recorded_at import by_pattern, from_header, from_name

WHEN = datetime(2024, 1, 31, 6, 30, 5)


@pytest.mark.parametrize(
    "name",
    [
        "20240131_063005.WAV",  # AudioMoth
        "SITE01_20240131_063005.wav",  # Song Meter
        "S4A12_20240131_063005_001.wav",
        "20240131T063005Z.flac",
        "20240131063005.mp3",
        "2024-01-31T06:30:05.flac",
        "2024-01-31T06-30-05+0100.flac",
        "rec 2024-01-31 06.30.05.ogg",
        "2024_01_31_06_30_05.wav",
        "2024-01-31_06h30m05.wav",
        "s3://archive/2019/12/31/20240131_063005.WAV",
    ],
)
def test_usual_names_hold_a_time(name):
    assert from_name(name) == WHEN


@pytest.mark.parametrize(
    "name",
    [
        "1-100032-A.ogg",
        "20240131.wav",  # a day alone
        "20241331_063005.wav",  # no month 13
        "20240131_253005.wav",
        "99920240131_063005.wav",
        "20240131_063005/a.wav",  # of a folder
        "1700000000.wav",
    ],
)
def test_other_numbers_are_no_time(name):
    assert from_name(name) is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_a_pattern_reads_what_strftime_wrote(when):
    when = when.replace(microsecond=0)
    for pattern in ("%Y%m%d_%H%M%S", "100%%-%H.%M.%S-%j-%Y", "%d(%m)%Y+%H%M%S"):
        assert by_pattern(pattern)(f"s3://b/x{when:{pattern}}y.wav") == when


def test_the_last_place_counts_and_parts_may_be_left_out():
    assert by_pattern("%Y-%m-%d")("2020-01-02/2021-03-04.wav") == datetime(2021, 3, 4)
    assert by_pattern("%Y%m%d")("20209999.wav") is None


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("%Y-%m", "must hold %Y, %m and %d"),
        ("%H%M%S", "must hold"),
        ("%Y%m%d%d", "each part once"),
        ("%Y%m%d%p", "%p is none of"),
        ("%Y%m%d%", "% is none of"),
    ],
)
def test_patterns_without_a_day_are_refused(pattern, problem):
    with pytest.raises(ValueError, match=problem):
        by_pattern(pattern)


def wav(*chunks, behind=()):
    """A WAV file of a second of noise, with chunks before and behind its samples."""
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    soundfile.write(file, samples, 16_000, format="WAV", subtype="PCM_16")
    plain = file.getvalue()

    def encoded(parts):
        return b"".join(
            name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
            for name, data in parts
        )

    content = plain[12:36] + encoded(chunks) + plain[36:] + encoded(behind)
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WAVE" + content


def bext(date):
    return b"bext", b"\0" * 256 + b"recorder".ljust(32, b"\0") + b"\0" * 32 + date + b"\0" * 264


def guano(text):
    return b"guan", text.encode()


GUANO = guano("GUANO|Version: 1.0\nTimestamp: 2024-01-31T06:30:05.5+01:00\nMake: x\n")


@pytest.mark.parametrize(
    "date", [b"2024-01-3106:30:05", b"2024:01:3106-30-05", b"2024_01_3106.30.05"]
)
def test_bext_tells_date_and_time(date):
    assert from_header(wav(bext(date))) == WHEN


def test_guano_tells_the_recorder_s_clock_and_goes_first():
    assert from_header(wav(bext(b"1999-01-0101:01:01"), behind=[GUANO])) == WHEN.replace(
        microsecond=500_000
    )


def comment(text, artist=b"AudioMoth 0FE081F80FE081F0"):
    """What AudioMoth writes: a comment of 256 bytes or more, and the recorder as the artist."""
    parts = [(b"ICMT", text.encode().ljust(256, b"\0")), (b"IART", artist.ljust(32, b"\0"))]
    return b"LIST", b"INFO" + b"".join(n + struct.pack("<I", len(d)) + d for n, d in parts)


@pytest.mark.parametrize(
    "text",
    [
        "Recorded at 06:30:05 31/01/2024 (UTC) by AudioMoth 0FE081F80FE081F0 at gain setting 2 "
        "while battery state was 4.5V",
        "Recorded at 06:30:05 31/01/2024 (UTC+2) by AudioMoth 24F3190361DBD1D6 at medium gain "
        "while battery was 4.2V and temperature was 23.1C.",
        "Recorded at 06:30:05 31/01/2024 (UTC-3:30) during deployment 0123456789ABCDEF at low gain",
        "Recorded at 06:30:05.250 31/01/2024 (UTC) by AudioMoth 24F3190361DBD1D6",
        "Recorded at 06:30:05 31/01/2024 by AudioMoth 0FE081F80FE081F0",
    ],
)
def test_the_comment_of_audiomoth_tells_its_clock(text):
    assert from_header(wav(comment(text))) == WHEN
    assert from_header(wav((b"LIST", b"INFO"), behind=[comment(text)])) == WHEN


def test_what_was_written_for_it_goes_before_a_comment():
    text = "Recorded at 01:01:01 01/01/1999 (UTC) by AudioMoth 1"
    assert from_header(wav(comment(text), bext(b"2024-01-3106:30:05"))) == WHEN


@pytest.mark.parametrize(
    "data",
    [
        wav(comment("Recorded at 06:30:05 31/13/2024 (UTC) by AudioMoth 1")),
        wav(comment("Recorded at home"), (b"LIST", b"adtlRecorded at 06:30:05 31/01/2024")),
        wav(),
        wav(bext(b"0000-00-0000:00:00")),
        wav(bext(b"")),
        wav(guano("Timestamp: soon")),
        wav((b"bext", b"short")),
        b"",
        b"RIFF",
        b"fLaC" + b"\0" * 40,
    ],
)
def test_headers_without_a_time(data):
    assert from_header(data) is None


def test_a_signal_tells_the_time_of_its_header():
    signal, _ = audio.waveform(wav(bext(b"2024-01-3106:30:05")))
    assert signal.recorded_at == "2024-01-31T06:30:05"
    assert audio.waveform(wav())[0].recorded_at is None
