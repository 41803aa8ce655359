"""The real job again and again, on collections that change, and with a Ray of its own."""

import ipaddress
import json
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines.storage.filesystems import filesystem
from tagger.errors import ClipError
from tagger.tagging import Tagger
from tests.support.processes import below
from tests.support.sounds import write_sound
from tests.support.tables import read_tables

pytestmark = pytest.mark.ray


def test_only_what_is_new_changed_or_asked_for_again_is_worked_on(s3, tmp_path, tag_here):
    where, out = s3.new_prefix(), s3.new_prefix()
    fs = filesystem(where)

    def put(name, seed):
        data = write_sound(tmp_path / "sound.wav", seed=seed).read_bytes()
        fs.pipe_file(f"{where}/{name}".removeprefix("s3://"), data if seed >= 0 else b"")

    def run(*flags):
        flags = ("--no-embeddings", "--max-failed", "1", "--json", *flags)
        done = tag_here(where, "--out", out, *flags)
        assert done.code == 0, done.err
        return json.loads(done.out)

    for i in range(5):
        put(f"{i}.wav", i)
    fs.pipe_file(f"{where}/bad.wav".removeprefix("s3://"), b"")
    first = run("--limit", "2")
    assert (first["n_to_do"], first["n_listed"]) == (2, 6)
    second = run()
    assert (second["n_to_do"], second["n_done_before"]) == (4, 2)
    assert second["failures"] == {"empty": 1}
    for i in range(5, 8):
        put(f"{i}.wav", i)
    put("3.wav", 33)
    fs.rm_file(f"{where}/4.wav".removeprefix("s3://"))
    gone = json.loads(tag_here(where, "--out", out, "--no-embeddings", "--dry-run", "--json").out)
    assert gone["gone"] == [f"{where}/4.wav"]
    assert gone["n_to_do"] == 4
    third = run()
    assert (third["n_to_do"], third["n_tagged"], third["n_given_up"]) == (4, 4, 1)
    again = run("--retry-failed")
    assert (again["n_to_do"], again["n_tagged"], again["n_failed"]) == (1, 0, 1)
    found = read_tables(out)
    assert "embeddings" not in found
    assert len(found["clips"]) == 9
    assert Counter(row["uri"] for row in found["clips"])[f"{where}/3.wav"] == 2
    assert len(found["failures"]) == 2
    assert len(found["tags"]) == 27


def test_a_file_that_vanishes_after_listing_is_tried_again_in_the_next_run(
    tmp_path, tag_here, monkeypatch
):
    leaving = write_sound(tmp_path / "in" / "leaving.wav")
    write_sound(tmp_path / "in" / "staying.wav")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-embeddings"]

    def vanish(*_):
        leaving.rename(tmp_path / "away.wav")
        return True

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.tagging.run.fits_one_process", vanish)
        done = tag_here(*arguments)
    assert done.code == 4, "half of the clips failed, a tenth may"
    (failure,) = read_tables(str(tmp_path / "out"))["failures"]
    assert (failure["reason"], failure["final"]) == ("vanished", False)
    (tmp_path / "away.wav").rename(leaving)
    assert tag_here(*arguments).code == 0
    assert len(read_tables(str(tmp_path / "out"))["clips"]) == 2


@pytest.mark.s3
def test_a_recording_too_large_to_hold_is_read_in_ranges(
    s3, tmp_path, tag_here, tiny_model, monkeypatch
):
    monkeypatch.setattr("pipelines.inputs.reading.IN_MEMORY_BYTES", 1 << 20)
    path = write_sound(tmp_path / "long.wav", seconds=10, rate=48_000, channels=4)
    assert path.stat().st_size > 3 << 20
    where, out = s3.new_prefix(), s3.new_prefix()
    filesystem(where).put(str(path), f"{where}/long.wav".removeprefix("s3://"))
    assert tag_here(where, "--out", out, "--precision", "float32").code == 0
    found = read_tables(out)
    expected = Tagger.load(tiny_model).tag(path)
    assert [row["tag"] for row in found["tags"]] == [tag.tag for tag in expected.tags]
    embeddings = [row["embedding"] for row in found["embeddings"] if row["extractor"] == "a"]
    np.testing.assert_allclose(embeddings, expected.embeddings["a"], atol=1e-5)


@pytest.mark.s3
def test_a_bucket_that_is_missing_is_told_before_any_work(s3, tmp_path, tag_here):
    sound = str(write_sound(tmp_path / "a.wav"))
    for arguments in (
        ["s3://nowhere-at-all/x/", "--out", str(tmp_path)],
        [sound, "--out", "s3://nowhere-at-all/x"],
    ):
        done = tag_here(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "nowhere-at-all" in done.err
        assert done.err.count("\n") == 1
        assert tag_here(*arguments, "--dry-run").code == 2


clip = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["wav", "flac", "ogg", "silent", "empty", "noise"]),
        "seconds": st.floats(0.001, 4.0),
        "rate": st.sampled_from([8_000, 16_000, 44_100]),
        "channels": st.integers(1, 3),
    }
)


def write_clip(stem, made, seed):
    """Write what an example asks for; a clip that cannot be tagged has the suffix of a wav."""
    path = stem.with_suffix(f".{made['kind']}")
    if made["kind"] == "silent":
        soundfile.write(stem.with_suffix(".wav"), np.zeros(1000), 8_000)
    elif made["kind"] in ("empty", "noise"):
        stem.with_suffix(".wav").write_bytes(b"" if made["kind"] == "empty" else b"x" * 999)
    else:
        write_sound(path, made["seconds"], made["rate"], made["channels"], seed=seed)


@pytest.mark.parametrize("how", ["alone", pytest.param("on Ray", marks=pytest.mark.faults)])
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(collection=st.lists(clip, min_size=1, max_size=12), seed=st.integers(0, 999))
def test_any_collection_gives_what_the_library_gives(
    how, collection, seed, tmp_path_factory, request, tiny_model, monkeypatch
):
    tag = request.getfixturevalue("tag_here" if how == "alone" else "tag")
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").mkdir()
    for i, made in enumerate(collection):
        write_clip(folder / "in" / str(i), made, seed + i)
    monkeypatch.setattr("pipelines.tagging.batches.SHORTEST_BATCH_S", 6.0)  # several batches
    out = str(folder / "out")
    flags = ["--max-failed", "1", "--precision", "float32", "--timeline"]
    assert tag(str(folder / "in"), "--out", out, *flags).code == 0
    found = read_tables(out)
    tagger = Tagger.load(tiny_model)
    for path in sorted((folder / "in").iterdir()):
        assert_as_the_library(found, path, tagger)


def assert_as_the_library(found, path, tagger):
    """A recording's rows are what the library says of it."""
    clips, failures = (
        [row for row in found.get(table, []) if row["uri"] == f"file://{path}"]
        for table in ("clips", "failures")
    )
    try:
        expected = tagger.tag(path)
    except ClipError as error:
        assert [row["reason"] for row in failures] == [error.reason]
        assert clips == []
        return
    assert failures == []
    (row,) = clips
    assert row["n_segments"] == len(expected.start_s)
    tags = [t for t in found["tags"] if t["clip_id"] == row["clip_id"]]
    tags.sort(key=lambda t: t["rank"])
    assert [t["tag"] for t in tags] == [t.tag for t in expected.tags]
    np.testing.assert_allclose(
        [t["score"] for t in tags], [t.score for t in expected.tags], atol=1e-5
    )
    events = [e for e in found["events"] if e["clip_id"] == row["clip_id"]]
    events.sort(key=lambda e: (e["start_s"], e["tag"]))
    assert [(e["tag"], e["start_s"], e["end_s"]) for e in events] == [
        (e.tag, e.start_s, e.end_s) for e in expected.events
    ]
    for extractor, vectors in expected.embeddings.items():
        place = row["clip_id"], extractor
        rows = [e for e in found["embeddings"] if (e["clip_id"], e["extractor"]) == place]
        rows.sort(key=lambda e: e["segment"])
        np.testing.assert_allclose([e["start_s"] for e in rows], expected.start_s)
        np.testing.assert_allclose([e["end_s"] for e in rows], expected.end_s)
        np.testing.assert_allclose([e["embedding"] for e in rows], vectors, atol=1e-4, rtol=1e-4)


def test_without_ray_the_job_starts_its_own_quietly_on_loopback_and_leaves_nothing(
    tmp_path, begin_tag
):
    write_sound(tmp_path / "in" / "a.wav")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--cpus", "1"]
    before = set(Path("/tmp").glob("archive-tagger-*"))
    long_name = tmp_path / ("n" * 95)  # in which no socket of Ray's could lie
    long_name.mkdir()
    process = begin_tag(
        *arguments, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 64, TMPDIR=str(long_name)
    )
    seen: set[psutil.Process] = set()
    listening: set[str] = set()
    while process.poll() is None:
        seen |= (now := below(process.pid))
        listening |= {address for each in now for address in listening_on(each)}
        time.sleep(0.5)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith("complete: run ")
    assert all(re.match(r"tagging: +\d+% \d/1 ", line) for line in err.splitlines()), err
    assert listening == {"127.0.0.1"}
    assert len(seen) > 5, "Ray has processes"
    assert psutil.wait_procs(seen, timeout=10)[1] == [], "and they end with the job"
    assert set(Path("/tmp").glob("archive-tagger-*")) == before, "as does Ray's folder"
    assert list(long_name.iterdir()) == []


def listening_on(process):
    try:
        found = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return set()
    return {
        str(ipaddress.ip_address(c.laddr.ip.removeprefix("::ffff:")))
        for c in found
        if c.status == psutil.CONN_LISTEN
    }
