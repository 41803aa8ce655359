"""Recordings that are broken at random, or lie, through the path of the job: each is one row."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.output.status import status
from pipelines.runtime.limits import Limits
from pipelines.storage.store import open_store
from tests.support.broken_sounds import inputs, originals
from tests.support.job_path import BAD, LIMITS, JobPath
from tests.support.tables import read_tables


@pytest.fixture(scope="module")
def path(tiny_model):
    return JobPath(str(tiny_model))


def test_broken_recordings_are_tagged_or_fail_with_a_reason(path):
    found = path.outcomes(dict(inputs(280, seed=3)))
    counts = Counter(what for what, _ in found.values())
    assert [(name, what) for name, what in found.items() if what[0] in BAD] == []
    assert counts["tagged"] > 20
    assert counts["tagged, damaged"] > 20
    assert counts["decode_error"] > 20
    assert path.longest_s < LIMITS.clip_timeout_s


def test_the_job_gives_each_broken_recording_one_row(tmp_path, tag_here):
    made = dict(inputs(210, seed=4))
    (tmp_path / "in").mkdir()
    for name, data in made.items():
        (tmp_path / "in" / name).write_bytes(data)
    out = str(tmp_path / "out")
    limits = ["--max-hours", str(LIMITS.max_hours), "--clip-timeout", str(LIMITS.clip_timeout_s)]
    done = tag_here(str(tmp_path / "in"), "--out", out, "--max-failed", "1", *limits)
    assert done.code == 0, done.err
    found = read_tables(out)
    rows = [*found["clips"], *found["failures"]]
    assert sorted(Path(row["uri"]).name for row in rows) == sorted(made)
    assert {row["reason"] for row in found["failures"]}.isdisjoint(BAD)
    (model,) = status(open_store(out), verify="bytes").models
    assert model.broken == ()


def with_number(kind, after, offset, number):
    """A sound recording in which a number has been replaced, ``offset`` bytes after a mark."""
    data = bytearray(originals()[kind])
    at = data.index(after) + len(after) + offset
    data[at : at + len(number)] = number
    return bytes(data)


MANY = b"\xff\xff\xff\x7f"
LIES = {
    "channels.wav": ("wav", b"fmt ", 6, b"\xe8\x03"),
    "no channels.wav": ("wav", b"fmt ", 6, b"\0\0"),
    "rate.wav": ("wav", b"fmt ", 8, b"\xff\xff\xff\xff"),
    "slow.wav": ("wav", b"fmt ", 8, b"\1\0\0\0"),
    "no rate.wav": ("wav", b"fmt ", 8, b"\0\0\0\0"),
    "block.wav": ("wav", b"fmt ", 16, b"\0\0"),
    "format size.wav": ("wav", b"fmt ", 0, MANY),
    "length.wav": ("wav", b"data", 0, MANY),
    "length.flac": ("flac", b"fLaC", 17, b"\x3f\xff\xff\xff\xff"),
    "blocks.flac": ("flac", b"fLaC", 4, b"\xff\xff\xff\xff"),
    "slow.flac": ("flac", b"fLaC", 14, b"\0\0\x13\xf0"),
    "metadata.flac": ("flac", b"fLaC", 1, b"\xff\xff\xff"),
    "comments.ogg": ("ogg", b"\x03vorbis", 0, b"\xff\xff\xff\x7f"),
    "rate.ogg": ("ogg", b"\x01vorbis", 5, b"\1\0\0\0"),
    "duration.m4a": ("m4a", b"mdhd", 16, b"\x7f\xff\xff\xff"),
    "samples.m4a": ("m4a", b"stsz", 8, b"\x7f\xff\xff\xff"),
    "chunks.m4a": ("m4a", b"stco", 4, b"\x7f\xff\xff\xff"),
    "runs.m4a": ("m4a", b"stts", 8, b"\x7f\xff\xff\xff\x7f\xff\xff\xff"),
    "box.m4a": ("m4a", b"isom", -12, b"\x7f\xff\xff\xff"),
}


def test_headers_that_lie_cost_neither_memory_nor_time(path):
    made = {name: with_number(*lie) for name, lie in LIES.items()}
    found = path.outcomes(made)
    assert [(name, what) for name, what in found.items() if what[0] in BAD] == []
    assert path.longest_s < LIMITS.clip_timeout_s


@pytest.mark.parametrize(("max_hours", "wanted"), [(4.0, "tagged"), (2.0, "too_long")])
def test_little_that_decodes_to_much(tmp_path, tiny_model, max_hours, wanted):
    """Three hours in a few hundred kB, and 400 MB of memory to decode them in."""
    bomb = tmp_path / "bomb.flac"
    with soundfile.SoundFile(bomb, "w", 16_000, 1) as file:
        file.write(np.full(16_000, 0.5))
        for _ in range(3 * 60):
            file.write(np.zeros(60 * 16_000, np.int16))
    assert bomb.stat().st_size < 1 << 20
    path = JobPath(
        str(tiny_model), Limits(clip_timeout_s=60.0, max_hours=max_hours, clip_memory_mb=400)
    )
    ((what, detail),) = path.outcomes({"bomb.flac": bomb.read_bytes()}).values()
    assert what == wanted, detail
