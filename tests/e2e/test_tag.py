"""The real job on a hostile collection: every file has its row, and the tables agree."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest
import soundfile

from pipelines.runtime import cluster
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import open_store
from tagger import schema
from tests.support.commands import Done
from tests.support.sounds import write_sound
from tests.support.tables import read_tables

pytestmark = pytest.mark.ray

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
def hostile(tmp_path_factory):
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


@dataclass
class Tagged:
    """Where clips lie, the output, what the command said, and the command."""

    where: str
    out: str
    done: Done
    tag: Callable[..., Done]


@pytest.fixture(
    scope="module", params=["local, alone", pytest.param("s3, on Ray", marks=pytest.mark.s3)]
)
def tagged(request, tmp_path_factory, hostile, tag, tag_here):
    """The hostile folder, tagged."""
    where, out, run = str(hostile), str(tmp_path_factory.mktemp("out")), tag_here
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "s3, on Ray":
            server = request.getfixturevalue("s3_server")
            for name, value in server.env.items():
                patch.setenv(name, value)
            where, out, run = server.new_prefix(), server.new_prefix(), tag
            fs = filesystem(where)
            for path in hostile.rglob("*.*"):
                if path.is_file():
                    key = f"{where}/{path.relative_to(hostile)}".removeprefix("s3://")
                    fs.pipe_file(key, path.read_bytes())
        twice = f"{where}/5.1.wav"
        options = ["--max-hours", "2.5", "--max-failed", "0.5", "--timeline"]
        yield Tagged(where, out, run(where, twice, "--out", out, *options), run)


def names(rows, where):
    prefix = where if where.startswith("s3:") else f"file://{where}"
    return sorted(row["uri"].removeprefix(f"{prefix}/") for row in rows)


def test_every_file_is_tagged_or_has_its_reason(tagged):
    where = tagged.where
    assert tagged.done.code == 0, tagged.done.err
    found = read_tables(tagged.out)
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


def test_the_tables_agree_with_each_other(tagged):
    found = read_tables(tagged.out)
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


def test_the_summary_and_the_record_say_the_same(tagged):
    assert f"tagged    {len(TAGGED)} clips" in tagged.done.out
    assert f"failed    {len(FAILING)}" in tagged.done.out
    store = open_store(tagged.out)
    (path,) = store.list("_runs")
    record = json.loads(store.read(path))
    assert record["state"] == "complete"
    assert (record["n_listed"], record["n_to_do"]) == (23, 23)
    assert (record["n_tagged"], record["n_failed"]) == (len(TAGGED), len(FAILING))
    assert sum(record["failures"].values()) == len(FAILING)
    assert store.list("_staging") == store.list("_lock") == []
    assert {p.split("/")[0] for p in store.list("")} == {
        *("_log", "_output.json", "_runs", "views.sql"),
        *schema.tables("float32"),
    }


def test_a_repeated_run_does_nothing_and_starts_no_ray(tagged, monkeypatch):

    def connect(resources):
        raise AssertionError("Ray was asked for")

    monkeypatch.setattr(cluster, "connect", connect)
    store = open_store(tagged.out)
    before = contents(store)
    done = tagged.tag(tagged.where, "--out", tagged.out, "--timeline")
    assert (done.code, done.err) == (0, "")
    assert "0 clips" in done.out
    assert f"{len(TAGGED)} tagged before, {len(FAILING)} given up before" in done.out
    assert contents(store) == before


def contents(store):
    return {path: store.read(path) for path in store.list("") if not path.startswith("_runs")}


def test_a_dry_run_writes_nothing(tagged):
    before = open_store(tagged.out).list("")
    flags = ["--timeline", "--dry-run", "--retry-failed", "--json"]
    done = tagged.tag(tagged.where, "--out", tagged.out, *flags)
    found = json.loads(done.out)
    assert (found["n_listed"], found["n_tagged"]) == (23, len(TAGGED))
    assert (found["n_to_do"], found["n_given_up"]) == (len(FAILING), 0)
    assert found["bytes_to_do"] > 1_000_000
    assert found["gone"] == []
    assert open_store(tagged.out).list("") == before


def test_another_setting_is_refused(tagged):
    for flag in (["--top-k", "2"], [], ["--embedding-dtype", "float16"], ["--no-embeddings"]):
        done = tagged.tag(tagged.where, "--out", tagged.out, *flag)
        assert done.code == 2
        assert "was begun with" in done.err
        assert done.err.count("\n") == 1


def test_tables_open_in_duckdb_pandas_and_pyarrow(tmp_path, tag_here):
    write_sound(tmp_path / "in" / "a.wav", seconds=2.0)
    write_sound(tmp_path / "in" / "b.ogg", seconds=1.0)
    (tmp_path / "in" / "c.ogg").write_bytes(b"")
    out = tmp_path / "out"
    done = tag_here(
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
