"""The real job on real collections."""

import ipaddress
import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.dataset
import pytest
import soundfile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import cluster
from pipelines.store import Store, open_store
from pipelines.uris import filesystem
from tagger import schema
from tagger.errors import ClipError
from tagger.tagging import Tagger

pytestmark = pytest.mark.ray

Tables = dict[str, list[dict[str, Any]]]

FAILING = {
    "zero bytes.wav": {"empty"},
    "header cut.wav": {"unsupported", "decode_error", "empty"},
    "not audio.mp3": {"unsupported"},
    "silent.wav": {"silent"},
    "nan.wav": {"non_finite"},
    "infinite.wav": {"non_finite"},
    "three hours.wav": {"too_long"},
}
TAGGED = {
    "cut in the middle.flac": None,
    "flac by content.mp3": 2,
    "one sample.wav": 1,
    "10 ms.wav": 1,
    "8 bit.wav": 1,
    "24 bit.wav": 1,
    "float.wav": 1,
    "192 kHz.wav": 1,
    "8 kHz.wav": 1,
    "5.1.wav": 1,
    "claims hours.wav": 2,
    "ünï ☂.wav": 1,
    "a#b?c.wav": 1,
    "50%25 + %.wav": 1,
    "new\nline.wav": 1,
    "deep/_er/.hidden.wav": 1,
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, write_sound: Callable[..., Path]) -> Path:
    """A folder of everything that may go wrong with a file, or look as if it did."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, options in (
        ("one sample.wav", {"seconds": 1 / 16_000}),
        ("10 ms.wav", {"seconds": 0.01}),
        ("8 bit.wav", {"subtype": "PCM_U8"}),
        ("24 bit.wav", {"subtype": "PCM_24"}),
        ("float.wav", {"subtype": "FLOAT"}),
        ("192 kHz.wav", {"rate": 192_000}),
        ("8 kHz.wav", {"rate": 8_000}),
        ("5.1.wav", {"channels": 6, "rate": 48_000}),
        *((name, {}) for name in ("ünï ☂.wav", "a#b?c.wav", "50%25 + %.wav", "new\nline.wav")),
        ("deep/_er/.hidden.wav", {}),
        ("whole.flac", {"seconds": 10.0}),
        ("short.flac", {"seconds": 2.0}),
        ("two.wav", {"seconds": 2.0}),
    ):
        write_sound(folder / name, **options)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "cut in the middle.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "short.flac").rename(folder / "flac by content.mp3")
    (folder / "whole.flac").unlink()
    wav = bytearray((folder / "two.wav").read_bytes())
    (folder / "header cut.wav").write_bytes(wav[:30])
    wav[4:8] = wav[40:44] = (2**31 - 64).to_bytes(4, "little")  # 18 hours
    (folder / "claims hours.wav").write_bytes(wav)
    (folder / "two.wav").unlink()
    (folder / "zero bytes.wav").write_bytes(b"")
    (folder / "not audio.mp3").write_bytes(b"To whom it may concern: " * 50)
    for name, value in (("nan.wav", np.nan), ("infinite.wav", np.inf)):
        soundfile.write(folder / name, np.array([0.1, value, 0.2] * 500), 16_000, "FLOAT")
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "three hours.wav", np.zeros(3 * 3600 * 1000, np.int16), 1000)
    (folder / "readme.txt").write_text("no clip")
    return folder


@pytest.fixture(scope="module", params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def tagged(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    hostile: Path,
    tag: Callable[..., Any],
) -> Any:
    """The hostile folder, tagged: (its location, output, what the command said)."""
    where, out = str(hostile), str(tmp_path_factory.mktemp("out"))
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3":
            server = request.getfixturevalue("s3_server")
            for name, value in server.env.items():
                patch.setenv(name, value)
            where, out = server.new_prefix(), server.new_prefix()
            fs = filesystem(where)
            for path in hostile.rglob("*.*"):
                if path.is_file():
                    key = f"{where}/{path.relative_to(hostile)}".removeprefix("s3://")
                    fs.pipe_file(key, path.read_bytes())
        twice = f"{where}/5.1.wav"
        options = ["--max-hours", "2.5", "--max-failed", "0.5", "--timeline"]
        yield where, out, tag(where, twice, "--out", out, *options)


def names(rows: list[dict[str, Any]], where: str) -> list[str]:
    prefix = where if where.startswith("s3:") else f"file://{where}"
    return sorted(row["uri"].removeprefix(f"{prefix}/") for row in rows)


def test_every_file_is_tagged_or_has_its_reason(
    tagged: Any, tables: Callable[[str], Tables]
) -> None:
    where, out, done = tagged
    assert done.code == 0, done.err
    found = tables(out)
    assert names(found["clips"], where) == sorted(TAGGED)
    assert names(found["failures"], where) == sorted(FAILING)
    for row in found["failures"]:
        name = names([row], where)[0]
        assert row["reason"] in FAILING[name], (name, row)
        assert row["final"]
    for row in found["clips"]:
        expected = TAGGED[names([row], where)[0]]
        assert expected is None or row["n_segments"] == expected, row
    by_name = {names([row], where)[0]: row for row in found["clips"]}
    assert by_name["cut in the middle.flac"]["damage"]
    assert 0.0 < by_name["cut in the middle.flac"]["duration_s"] < 10.0
    assert by_name["claims hours.wav"]["duration_s"] == pytest.approx(2.0)
    assert by_name["5.1.wav"]["channels"] == 6


def test_the_tables_agree_with_each_other(tagged: Any, tables: Callable[[str], Tables]) -> None:
    _, out, _ = tagged
    found = tables(out)
    clips = {row["clip_id"]: row for row in found["clips"]}
    assert len(clips) == len(found["clips"])
    ranks = Counter((row["clip_id"], row["rank"]) for row in found["tags"])
    assert ranks == Counter((clip, rank) for clip in clips for rank in (1, 2, 3))
    places = Counter((r["clip_id"], r["extractor"], r["segment"]) for r in found["embeddings"])
    assert places == Counter(
        (clip, extractor, segment)
        for clip, row in clips.items()
        for extractor in "ab"
        for segment in range(row["n_segments"])
    )
    for row in found["embeddings"]:
        clip = clips[row["clip_id"]]
        assert row["start_s"] == pytest.approx(clip["content_start_s"] + 0.96 * row["segment"])
        assert row["start_s"] < row["end_s"] <= clip["content_end_s"] + 1e-9
        assert len(row["embedding"]) == 128
    for row in found["timeline"]:
        clip = clips[row["clip_id"]]
        assert clip["content_start_s"] <= row["start_s"] < row["end_s"] <= clip["duration_s"]
        assert sum(row["attention"]) == pytest.approx(1.0, abs=1e-5)
    bags = {(row["clip_id"], row["bag"]) for row in found["timeline"]}
    assert len(bags) == sum(-(-row["n_segments"] // 6) for row in clips.values())


def test_the_summary_and_the_record_say_the_same(tagged: Any) -> None:
    _, out, done = tagged
    assert f"tagged    {len(TAGGED)} clips" in done.out
    assert f"failed    {len(FAILING)}" in done.out
    store = open_store(out)
    (path,) = store.list("_runs")
    record = json.loads(store.read(path))
    assert record["state"] == "complete"
    assert (record["n_listed"], record["n_to_do"]) == (23, 23)
    assert (record["n_tagged"], record["n_failed"]) == (len(TAGGED), len(FAILING))
    assert sum(record["failures"].values()) == len(FAILING)
    assert store.list("_staging") == store.list("_lock") == []
    assert {p.split("/")[0] for p in store.list("")} == {
        *("_log", "_output.json", "_runs", "views.sql"),
        *("clips", "tags", "embeddings", "timeline", "failures"),
    }


def test_a_repeated_run_does_nothing_and_starts_no_ray(
    tagged: Any, tag: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, out, _ = tagged

    def connect(resources: object) -> None:
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr(cluster, "connect", connect)
    store = open_store(out)
    before = contents(store)
    start = time.monotonic()
    done = tag(where, "--out", out, "--timeline")
    assert time.monotonic() - start < 20
    assert (done.code, done.err) == (0, "")
    assert "0 clips" in done.out
    assert f"{len(TAGGED)} tagged before, {len(FAILING)} given up before" in done.out
    assert contents(store) == before


def contents(store: Store) -> dict[str, bytes]:
    return {path: store.read(path) for path in store.list("") if not path.startswith("_runs")}


def test_a_dry_run_writes_nothing(tagged: Any, tag: Callable[..., Any]) -> None:
    where, out, _ = tagged
    before = open_store(out).list("")
    done = tag(where, "--out", out, "--timeline", "--dry-run", "--retry-failed", "--json")
    found = json.loads(done.out)
    assert (found["n_listed"], found["n_tagged"]) == (23, len(TAGGED))
    assert (found["n_to_do"], found["n_given_up"]) == (len(FAILING), 0)
    assert found["bytes_to_do"] > 1_000_000
    assert found["gone"] == []
    assert open_store(out).list("") == before


def test_another_setting_is_refused(tagged: Any, tag: Callable[..., Any]) -> None:
    where, out, _ = tagged
    for flag in (["--top-k", "2"], [], ["--embedding-dtype", "float16"], ["--no-embeddings"]):
        done = tag(where, "--out", out, *flag)
        assert done.code == 2
        assert "was begun with" in done.err
        assert done.err.count("\n") == 1


def test_tables_open_in_duckdb_pandas_and_pyarrow(
    tmp_path: Path, tag: Callable[..., Any], write_sound: Callable[..., Path]
) -> None:
    write_sound(tmp_path / "in" / "a.wav", seconds=2.0)
    write_sound(tmp_path / "in" / "b.ogg", seconds=1.0)
    (tmp_path / "in" / "c.ogg").write_bytes(b"")
    out = tmp_path / "out"
    done = tag(
        str(tmp_path / "in"),
        "--out",
        str(out),
        "--timeline",
        "--embedding-dtype",
        "float16",
        "--max-failed",
        "1",
    )
    assert done.code == 0, done.err
    wanted = schema.tables("float16")
    counts = {"clips": 2, "tags": 6, "embeddings": 6, "timeline": 6, "failures": 1}
    with duckdb.connect() as database:
        for table, n in counts.items():
            dataset = pyarrow.dataset.dataset(out / table, partitioning=None)
            assert dataset.schema.remove_metadata() == wanted[table], table
            assert dataset.count_rows() == n
            files = list((out / table).rglob("*.parquet"))
            frame = pd.concat([pd.read_parquet(path, partitioning=None) for path in files])
            assert list(frame.columns) == wanted[table].names
            query = f"SELECT count(*) FROM '{out}/{table}/**/*.parquet'"
            assert database.sql(query).fetchall() == [(n,)]
        database.execute((out / "views.sql").read_text())
        assert len(database.sql("SELECT * FROM top_tags").fetchall()) == 2
        (types,) = {tuple(map(str, database.sql(f"FROM '{out}/embeddings/**/*.parquet'").types))}
        assert types[-3] in ("FLOAT[]", "FLOAT[128]")
    vectors = pyarrow.dataset.dataset(out / "embeddings").to_table()["embedding"]
    assert vectors.type == pa.list_(pa.float16(), 128)


def test_only_what_is_new_changed_or_asked_for_again_is_worked_on(
    s3: Any,
    tmp_path: Path,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    write_sound: Callable[..., Path],
) -> None:
    where, out = s3.new_prefix(), s3.new_prefix()
    fs = filesystem(where)

    def put(name: str, seed: int) -> None:
        data = write_sound(tmp_path / "sound.wav", seed=seed).read_bytes()
        fs.pipe_file(f"{where}/{name}".removeprefix("s3://"), data if seed >= 0 else b"")

    def run(*flags: str) -> dict[str, Any]:
        done = tag(where, "--out", out, "--no-embeddings", "--max-failed", "1", "--json", *flags)
        assert done.code == 0, done.err
        record: dict[str, Any] = json.loads(done.out)
        return record

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
    gone = json.loads(tag(where, "--out", out, "--no-embeddings", "--dry-run", "--json").out)
    assert gone["gone"] == [f"{where}/4.wav"]
    assert gone["n_to_do"] == 4
    third = run()
    assert (third["n_to_do"], third["n_tagged"], third["n_given_up"]) == (4, 4, 1)
    again = run("--retry-failed")
    assert (again["n_to_do"], again["n_tagged"], again["n_failed"]) == (1, 0, 1)
    found = tables(out)
    assert "embeddings" not in found
    assert len(found["clips"]) == 9
    assert Counter(row["uri"] for row in found["clips"])[f"{where}/3.wav"] == 2
    assert len(found["failures"]) == 2
    assert len(found["tags"]) == 27


def test_a_file_that_vanishes_after_listing_is_tried_again_in_the_next_run(
    tmp_path: Path,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    write_sound: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leaving = write_sound(tmp_path / "in" / "leaving.wav")
    write_sound(tmp_path / "in" / "staying.wav")
    original = cluster.connect

    def connect(resources: Any) -> cluster.Workers:
        leaving.rename(tmp_path / "away.wav")
        return original(resources)

    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--no-embeddings"]
    monkeypatch.setattr(cluster, "connect", connect)
    done = tag(*arguments)
    assert done.code == 4, "half of the clips failed, a tenth may"
    (failure,) = tables(str(tmp_path / "out"))["failures"]
    assert (failure["reason"], failure["final"]) == ("vanished", False)
    monkeypatch.setattr(cluster, "connect", original)
    (tmp_path / "away.wav").rename(leaving)
    assert tag(*arguments).code == 0
    assert len(tables(str(tmp_path / "out"))["clips"]) == 2


@pytest.mark.s3
def test_a_bucket_that_is_missing_is_told_before_any_work(
    s3: Any, tmp_path: Path, tag: Callable[..., Any], write_sound: Callable[..., Path]
) -> None:
    sound = str(write_sound(tmp_path / "a.wav"))
    for arguments in (
        ["s3://nowhere-at-all/x/", "--out", str(tmp_path)],
        [sound, "--out", "s3://nowhere-at-all/x"],
    ):
        done = tag(*arguments)
        assert (done.code, done.out) == (2, "")
        assert "nowhere-at-all" in done.err
        assert done.err.count("\n") == 1
        assert tag(*arguments, "--dry-run").code == 2


clip = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["wav", "flac", "ogg", "silent", "empty", "noise"]),
        "seconds": st.floats(0.001, 4.0),
        "rate": st.sampled_from([8_000, 16_000, 44_100]),
        "channels": st.integers(1, 3),
    }
)


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(collection=st.lists(clip, min_size=1, max_size=12), seed=st.integers(0, 999))
def test_any_collection_gives_what_the_library_gives(
    collection: list[dict[str, Any]],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    write_sound: Callable[..., Path],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for i, made in enumerate(collection):
        path = folder / "in" / f"{i}.{made['kind'] if len(made['kind']) < 5 else 'wav'}"
        shape = made["seconds"], made["rate"], made["channels"]
        write_sound(
            path.with_suffix(path.suffix if path.suffix in (".wav", ".flac", ".ogg") else ".wav"),
            *shape,
            seed=seed + i,
        )
        path = path if path.exists() else path.with_suffix(".wav")
        if made["kind"] == "silent":
            soundfile.write(path, np.zeros(1000), 8_000)
        elif made["kind"] in ("empty", "noise"):
            path.write_bytes(b"" if made["kind"] == "empty" else b"x" * 999)
    monkeypatch.setattr("pipelines.work.SHORTEST_BATCH_S", 6.0)  # several batches
    out = str(folder / "out")
    flags = ["--max-failed", "1", "--precision", "float32", "--timeline"]
    assert tag(str(folder / "in"), "--out", out, *flags).code == 0
    found = tables(out)
    tagger = Tagger.load(tiny_model)
    for path in sorted((folder / "in").iterdir()):
        uri = f"file://{path}"
        clips = [row for row in found.get("clips", []) if row["uri"] == uri]
        failures = [row for row in found.get("failures", []) if row["uri"] == uri]
        try:
            expected = tagger.tag(path)
        except ClipError as error:
            assert [row["reason"] for row in failures] == [error.reason]
            assert clips == []
            continue
        assert failures == []
        (row,) = clips
        assert row["n_segments"] == len(expected.start_s)
        tags = [t for t in found["tags"] if t["clip_id"] == row["clip_id"]]
        tags.sort(key=lambda t: t["rank"])
        assert [t["tag"] for t in tags] == [t.tag for t in expected.tags]
        np.testing.assert_allclose(
            [t["score"] for t in tags], [t.score for t in expected.tags], atol=1e-5
        )
        for extractor, vectors in expected.embeddings.items():
            rows = [
                e
                for e in found["embeddings"]
                if (e["clip_id"], e["extractor"]) == (row["clip_id"], extractor)
            ]
            rows.sort(key=lambda e: e["segment"])
            np.testing.assert_allclose([e["start_s"] for e in rows], expected.start_s)
            np.testing.assert_allclose([e["end_s"] for e in rows], expected.end_s)
            np.testing.assert_allclose(
                [e["embedding"] for e in rows], vectors, atol=1e-4, rtol=1e-4
            )


def test_without_ray_the_job_starts_its_own_quietly_on_loopback_and_leaves_nothing(
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
    write_sound: Callable[..., Path],
    family: Callable[[int], set[psutil.Process]],
) -> None:
    write_sound(tmp_path / "in" / "a.wav")
    arguments = [str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--cpus", "1"]
    process = begin_tag(*arguments, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="t" * 64)
    seen: set[psutil.Process] = set()
    listening: set[str] = set()
    while process.poll() is None:
        seen |= (now := family(process.pid))
        listening |= {address for each in now for address in listening_on(each)}
        time.sleep(0.5)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith("complete: run ")
    assert err.splitlines()[-1].startswith("1 of 1 clips, ")
    assert all(re.match(r"\d of 1 clips, ", line) for line in err.splitlines()), err
    assert listening == {"127.0.0.1"}
    assert len(seen) > 5, "Ray has processes"
    assert psutil.wait_procs(seen, timeout=10)[1] == [], "and they end with the job"


def listening_on(process: psutil.Process) -> set[str]:
    try:
        found = process.net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return set()
    return {
        str(ipaddress.ip_address(c.laddr.ip.removeprefix("::ffff:")))
        for c in found
        if c.status == psutil.CONN_LISTEN
    }
