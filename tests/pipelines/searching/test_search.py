"""``search`` against a slow and plain search, on local outputs and on S3."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines.housekeeping.compact import compact
from pipelines.housekeeping.forget import forget
from pipelines.housekeeping.jobs import CompactJob, ForgetJob
from pipelines.output.forgotten import bury
from pipelines.output.settings import open_output
from pipelines.searching import compare, pieces, scan, table_files
from pipelines.searching.search import ANSWERS, search
from pipelines.storage.store import open_store
from tagger.errors import CommandError
from tagger.similarity import common_direction
from tests.support.embedded import Embedded, begin, plain_search, publish_clips, staged
from tests.support.outputs import commit


def rows(answers):
    """URI, start and score, as ``plain_search`` has them."""
    assert answers.schema == ANSWERS
    columns = (answers[name].to_pylist() for name in ("uri", "start_s", "score"))
    return list(zip(*columns, strict=True))


def assert_same(answers, wanted):
    found = rows(answers)
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    np.testing.assert_allclose([r[2] for r in found], [r[2] for r in wanted], atol=1e-7)


def uris(answers):
    return answers["uri"].to_pylist()


@pytest.fixture
def no_waiting(monkeypatch):
    monkeypatch.setattr(table_files, "PAUSES_S", (0.0, 0.0))


@pytest.fixture
def query(rng):
    return rng.standard_normal(128)


@pytest.fixture
def direction(query):
    return common_direction([query[None]])


@pytest.mark.parametrize("top", [1, 7, 20, 1000])
@pytest.mark.parametrize("per_clip", [False, True])
def test_answers_are_those_of_a_plain_search(full, query, direction, top, per_clip):
    for how in ({}, {"tag": "Rooster"}, {"extractor": "second"}):
        found = search(full.root, query, top=top, per_clip=per_clip, **how)
        assert_same(found, plain_search(full, direction, top, per_clip=per_clip, **how))


def test_ends_are_told_and_scores_fall(full, query):
    found = search(full.root, query)
    spans = np.array(found["end_s"]) - np.array(found["start_s"])
    np.testing.assert_allclose(spans, 0.96)
    assert found["score"].to_pylist() == sorted(found["score"].to_pylist(), reverse=True)
    assert len(found) == 20


@pytest.mark.parametrize(("batch", "piece"), [(1, 1), (3, 5), (7, 1000)])
def test_it_does_not_matter_how_the_tables_are_cut(full, query, monkeypatch, batch, piece):
    ways = [{"per_clip": per_clip, "top": 9} for per_clip in (False, True)]
    before = [search(full.root, query, **way) for way in ways]
    monkeypatch.setattr(scan, "BATCH_ROWS", batch)
    monkeypatch.setattr(pieces, "PIECE_ROWS", piece)
    assert [search(full.root, query, **way) for way in ways] == before
    compact(CompactJob(out=full.root))
    assert [search(full.root, query, **way) for way in ways] == before


def test_equal_scores_stand_in_the_order_of_clip_and_segment(store, rng):
    same, other = rng.standard_normal((2, 128))
    names = [f"{letter}.wav" for letter in "edcabf"]
    for name in names:
        publish_clips(store, [Embedded(name, np.stack([same, other, 2 * same]))])
    found = search(store.root, same, top=5)
    wanted = [("file:///a.wav", 0.0), ("file:///a.wav", 1.92), ("file:///b.wav", 0.0)]
    wanted += [("file:///b.wav", 1.92), ("file:///c.wav", 0.0)]
    assert [row[:2] for row in rows(found)] == wanted
    assert set(found["score"].to_pylist()) == {1.0}
    assert uris(search(store.root, same, top=3, per_clip=True)) == [
        f"file:///{name}.wav" for name in "abc"
    ]


def test_float16(out_url, noise, query, direction):
    store = open_store(out_url)
    begin(store, "float16")
    publish_clips(store, noise, "float16")
    assert_same(search(store.root, query), plain_search(store, direction, 20))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_embedding_of_the_tables_finds_itself(tmp_path, noise, dtype):
    store = open_store(str(tmp_path))
    begin(store, dtype)
    publish_clips(store, noise, dtype)
    (path,) = store.list("embeddings")
    third = pq.ParquetFile(tmp_path / path).read().slice(2, 1)
    found = search(store.root, third["embedding"], extractor=third["extractor"][0].as_py(), top=1)
    assert found["score"].to_pylist() == [1.0]
    assert found["start_s"].to_pylist() == third["start_s"].to_pylist()


def test_several_embeddings_and_what_is_unlike_them(full, rng):
    likes, unlikes = rng.standard_normal((3, 128)), rng.standard_normal((2, 128))
    direction = common_direction([likes], [unlikes])
    found = search(full.root, likes, unlike=unlikes)
    assert_same(found, plain_search(full, direction, 20))


def test_clips_that_are_no_answers(full, query, direction):
    first = search(full.root, query, top=1)["uri"][0].as_py()
    without = [f"{first.removeprefix('file:///')}-1"]
    found = search(full.root, query, without=without)
    assert first not in uris(found)
    assert_same(found, plain_search(full, direction, 20, without=without))


def test_segments_that_are_zero_or_not_finite_are_no_answers(store, query):
    odd = np.stack([np.zeros(128), np.full(128, np.nan), query, np.full(128, np.inf)])
    odd = np.concatenate([odd, query[None]])
    odd[4, 7] = np.nan
    publish_clips(store, [Embedded("odd.wav", odd)])
    assert [row[1] for row in rows(search(store.root, query))] == [1.92]


def test_the_current_version_answers(store, query, rng):
    old, new = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    first = [Embedded(f"{i}.wav", query[None] + 0.01 * i, at=old) for i in range(30)]
    second = [
        Embedded(f"{i}.wav", rng.standard_normal((1, 128)), version="2", at=new) for i in range(29)
    ]
    publish_clips(store, first)
    publish_clips(store, second)
    found = search(store.root, query, top=2)
    assert uris(found)[0] == "file:///29.wav"
    assert found["score"][1].as_py() < 0.5
    assert len(search(store.root, query, top=100)) == 30


def test_forgotten_recordings_do_not_answer(full, query):
    first, second = uris(search(full.root, query, top=2, per_clip=True))
    forget(ForgetJob(out=full.root, uris=(first,)))
    assert uris(search(full.root, query, top=1, per_clip=True)) == [second]
    bury(full, "cut-short", [second])
    assert second not in uris(search(full.root, query, top=1000))


def test_two_models(store, query, noise):
    publish_clips(store, noise[:5])
    publish_clips(store, [Embedded("other.wav", query[None])], model_id="m-2")
    with pytest.raises(CommandError, match="has several models, name one: m-1, m-2"):
        search(store.root, query)
    assert uris(search(store.root, query, model_id="m-2")) == ["file:///other.wav"]
    assert "file:///other.wav" not in uris(search(store.root, query, model_id="m-1"))
    with pytest.raises(CommandError, match="has no model m-3; it has: m-1, m-2"):
        search(store.root, query, model_id="m-3")


def test_what_is_not_yet_published_does_not_answer(store, query, noise):
    publish_clips(store, noise)
    commit(store, staged([Embedded("new.wav", query[None])]))
    assert "file:///new.wav" not in uris(search(store.root, query, top=1000))


def test_half_published_clips_do_not_answer(local, query, noise):
    """As after a kill between the files of an entry: its marker is not there yet."""
    publish_clips(local, noise)
    entry = publish_clips(local, [Embedded("new.wav", query[None])])
    Path(local.root, f"_log/m-1/{entry.number:08d}.published").unlink()
    assert "file:///new.wav" not in uris(search(local.root, query, top=1000))
    local.remove(entry.outputs["clips"])
    assert "file:///new.wav" not in uris(search(local.root, query, top=1000))


@pytest.mark.parametrize("table", ["embeddings", "clips", "tags"])
def test_files_that_are_gone_are_told(local, query, noise, no_waiting, table):
    for start in (0, 20, 40):
        entry = publish_clips(local, noise[start : start + 20])
    local.remove(entry.outputs[table])
    with pytest.raises(CommandError, match=r"files of the tables are gone.*--verify"):
        search(local.root, query, tag="Rain", top=1000)


def test_files_that_are_replaced_meanwhile_are_read_anew(local, query, noise, monkeypatch):
    publish_clips(local, noise[:30])
    publish_clips(local, noise[30:])
    before = search(local.root, query)
    listed = table_files.TableFiles

    def and_then_compacted(store, model_id):
        found = listed(store, model_id)
        compact(CompactJob(out=local.root))
        return found

    monkeypatch.setattr(table_files, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(table_files, "TableFiles", and_then_compacted)
    monkeypatch.setattr("pipelines.output.rewriting.SETTLED_S", -1.0)
    assert search(local.root, query) == before


@pytest.mark.parametrize("damage", [b"", b"no Parquet", "cut", "changed"])
def test_a_damaged_file_is_told(local, query, noise, damage):
    entry = publish_clips(local, noise)
    (path,) = entry.outputs["embeddings"]
    data = local.read(path)
    if damage == "cut":
        damage = data[:-100]
    elif damage == "changed":
        middle = len(data) // 2
        damage = data[:middle] + bytes(1000) + data[middle + 1000 :]
    local.write(path, damage)
    with pytest.raises(CommandError, match=rf"{path} cannot be read .*--verify"):
        search(local.root, query)


def test_nothing_to_search_in(tmp_path, query, noise):
    with pytest.raises(CommandError, match="holds no output"):
        search(str(tmp_path / "no"), query)
    store = open_store(str(tmp_path / "out"))
    begin(store)
    with pytest.raises(CommandError, match="has no embeddings yet"):
        search(store.root, query)
    publish_clips(store, noise[:1])
    forget(ForgetJob(out=store.root, uris=(noise[0].uri,)))
    assert len(search(store.root, query)) == 0


def test_clips_without_embeddings(tmp_path, query, settings):
    store = open_store(str(tmp_path))
    open_output(store, replace(settings, tables=("tags", "failures", "clips")))
    with pytest.raises(CommandError, match="without embeddings"):
        search(store.root, query)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"embedding": np.zeros(128)}, "zero"),
        ({"embedding": np.ones(128), "unlike": 2 * np.ones(128)}, "unlike"),
        ({"embedding": np.ones(127)}, "128 numbers"),
        ({"embedding": np.ones((2, 3, 128))}, "128 numbers"),
        ({"embedding": []}, "128 numbers"),
        ({"embedding": np.ones(128), "top": 0}, "top must be greater"),
        ({"embedding": np.ones(128), "extractor": "third"}, "there are: first, second"),
    ],
)
def test_what_cannot_be_searched_for(local, noise, asked, told):
    publish_clips(local, noise[:3])
    with pytest.raises(CommandError, match=told):
        search(local.root, **asked)


def test_a_tag_that_no_clip_has(full, query):
    assert len(search(full.root, query, tag="Roster")) == 0


def test_nothing_is_written(local, query, noise):
    publish_clips(local, noise)
    before = local.list("")
    search(local.root, query)
    assert local.list("") == before


def test_what_else_lies_among_the_tables_is_passed_over(local, query, noise):
    publish_clips(local, noise)
    before = search(local.root, query)
    for name in ("_SUCCESS", "notes.parquet", "model=m-1/copy.parquet", "model=m-9/a/b/c.txt"):
        local.write(f"embeddings/{name}", b"something")
    assert search(local.root, query) == before


def test_after_damage_no_more_is_read(local, query, noise, monkeypatch):
    """Else the process would end only when all pieces have been compared."""
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
    monkeypatch.setattr(compare, "_n_threads", lambda store: 1)
    publish_clips(local, noise[:30])
    for clip in noise[30:]:
        publish_clips(local, [clip])
    seen = []
    scanned = compare.scan

    def scan_and_fail(store, asked, piece):
        seen.append(piece)
        if len(seen) == 1:
            raise CommandError("damaged")
        return scanned(store, asked, piece)

    monkeypatch.setattr(compare, "scan", scan_and_fail)
    with pytest.raises(CommandError, match="damaged"):
        search(local.root, query)
    assert len(seen) < 31


def test_tables_without_their_log(local, query, noise):
    publish_clips(local, noise)
    shutil.rmtree(Path(local.root, "_log"))
    with pytest.raises(CommandError, match="the log of m-1 is gone"):
        search(local.root, query)
