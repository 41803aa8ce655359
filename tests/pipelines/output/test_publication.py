"""Tables: right after a crash at any write, the same bytes when repeated, readable by others."""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Marker, Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store
from tagger import schema
from tagger.errors import CommandError
from tests.support.mortal import Killed, kills, mortal
from tests.support.outputs import s3_with_the_faults

MODEL = "m-1"
RUN = Run("run-1", "2026-11-22")
MARKER = f"_log/{MODEL}/00000000.published"
Build = Callable[..., pa.Table]
ReadTable = Callable[[Store, str], pa.Table]


BATCHES = [
    [("a", None, "r"), ("b", "timeout", "r"), ("c", None, "r")],
    [("c", None, "r"), ("d", "empty", "r")],
    [("a", None, "r")],
    [("b", None, "r"), ("e", None, "r")],
]


def job(store: Store, staged_table: Build) -> None:
    """Do what a run does: recover, work on what is not done, commit and publish, recover."""
    commit_log = CommitLog(store, MODEL)
    publish_here = partial(publish, store, MODEL)
    recover(commit_log, RUN, publish_here)
    done = {*commit_log.tagged().to_pylist(), *commit_log.failed()["clip_id"].to_pylist()}
    for batches in (BATCHES[:2], BATCHES[2:]):
        to_do = [rows for rows in batches if not {clip for clip, *_ in rows} <= done]
        files = [stage(staged_table(rows), store, MODEL) for rows in to_do]
        entry = commit_log.commit(RUN, files) if files else None
        if entry is not None:
            publish_here(entry)
    recover(commit_log, RUN, publish_here)


def counts(store: Store, read_table: ReadTable) -> dict[str, Counter[str]]:
    return {
        name: Counter(read_table(store, name)["clip_id"].to_pylist())
        for name in schema.tables("float32")
    }


WHOLE = {"clips": 1, "tags": 2, "embeddings": 6, "timeline": 1}
"""Rows per tagged clip."""


def assert_truthful(store: Store, seen: dict[str, Counter[str]]) -> None:
    """``status --verify`` tells what waits, as log and folders show it; nothing is wrong."""
    entries = [path for path in store.list("_log") if path.endswith(".json")]
    markers = [path for path in store.list("_log") if path.endswith(".published")]
    read = [Entry.from_json(store.read(path)) for path in entries]
    counted = [clip for entry in read for clip in entry.clip_ids]
    named = {staged.file for entry in read for staged in entry.staged}
    waiting = [path for path in store.list("_staging") if path.rsplit("/", 1)[1] not in named]
    models = status(store, verify="bytes").models
    assert len(models) == (1 if entries or waiting else 0)
    for model in models:
        assert model.broken == ()
        assert model.n_tagged == len(counted)
        assert model.n_unpublished == len(entries) - len(markers)
        assert model.n_staged == len(waiting)
        assert sum(model.open_failures.values()) == len(
            {failed.clip_id for entry in read for failed in entry.failed} - {*counted}
        )
        if not model.n_unpublished:
            assert sorted(seen["clips"]) == sorted(counted)


@s3_with_the_faults
def test_killed_at_every_single_change(
    out_url: str, settings: Settings, staged_table: Build, read_table: ReadTable
) -> None:
    for n in kills(out_url):
        root = f"{out_url}/{n}"
        store = open_store(root)
        open_output(store, settings)
        try:
            job(mortal(store, n), staged_table)
            survived = True
        except Killed:
            survived = False
        seen = counts(store, read_table)  # by a reader, meanwhile
        for name, n_rows in WHOLE.items():
            assert set(seen[name].values()) <= {n_rows}, (n, name)
            assert set(seen["clips"]) <= set(seen[name]), (n, name)
        assert_truthful(store, seen)
        job(store, staged_table)
        found = counts(store, read_table)
        for name, n_rows in WHOLE.items():
            assert found[name] == dict.fromkeys("abce", n_rows), (n, name)
        assert set(found["failures"]) <= {"b", "d"} and found["failures"]["d"] == 1, n
        assert store.list("_staging") == []
        (model,) = status(store, verify="bytes").models
        assert (model.n_tagged, model.n_staged, model.n_unpublished) == (4, 0, 0), n
        assert model.broken == (), n
        markers = [path for path in store.list("_log") if path.endswith(".published")]
        assert len(markers) == CommitLog(store, MODEL).n_entries
        before = store.list("")
        job(store, staged_table)
        assert store.list("") == before
        if survived:
            break
    assert n > 20


@pytest.fixture
def entry_and_store(out_url: str, settings: Settings, staged_table: Build) -> tuple[Entry, Store]:
    store = open_store(out_url)
    open_output(store, settings)
    files = [stage(staged_table(rows), store, MODEL) for rows in BATCHES]
    entry = CommitLog(store, MODEL).commit(RUN, files)
    assert entry is not None
    return entry, store


def test_publishing_twice_gives_the_same_tables(entry_and_store: tuple[Entry, Store]) -> None:
    entry, store = entry_and_store
    staged = {path: store.read(path) for path in store.list("_staging")}
    publish(store, MODEL, entry)
    first = {path: store.read(path) for path in store.list("")}
    assert {name for names in entry.outputs.values() for name in names} <= set(first)
    for path, data in staged.items():
        store.write(path, data)
    store.remove([MARKER, entry.outputs["tags"][0]])
    publish(store, MODEL, entry)
    publish(store, MODEL, entry)
    second = {path: store.read(path) for path in store.list("")}
    assert Marker.from_json(second.pop(MARKER)).rows == Marker.from_json(first.pop(MARKER)).rows
    assert second == first


@pytest.mark.parametrize("moment", ["read", "create"])
def test_zombie_publisher(entry_and_store: tuple[Entry, Store], moment: str) -> None:
    """Another publisher does everything while this one is about to read, or to create."""
    entry, store = entry_and_store
    after: dict[str, bytes] = {}

    class Slow(type(store)):  # type: ignore[misc]
        def read(self, path: str) -> bytes:
            if moment == "read" and path.startswith("_staging"):
                the_other()
            return super().read(path)

        def create(self, path: str, data: bytes) -> bool:
            the_other()
            return bool(super().create(path, data))

    def the_other() -> None:
        if not after:
            publish(store, MODEL, entry)
            after.update((path, store.read(path)) for path in store.list(""))

    publish(Slow(store.root), MODEL, entry)
    assert after
    assert {path: store.read(path) for path in store.list("")} == after


def test_a_lost_staged_file_is_told(entry_and_store: tuple[Entry, Store]) -> None:
    entry, store = entry_and_store
    store.remove([f"_staging/{MODEL}/{entry.staged[0].file}"])
    with pytest.raises(CommandError, match="entry 0"):
        publish(store, MODEL, entry)


@pytest.fixture
def local(tmp_path: Path, settings: Settings) -> Store:
    store = open_store(str(tmp_path / "it's [1] out"))
    open_output(store, settings)
    return store


def commit_and_publish(store: Store, tables: list[pa.Table]) -> None:
    entry = CommitLog(store, MODEL).commit(RUN, [stage(table, store, MODEL) for table in tables])
    assert entry is not None
    publish(store, MODEL, entry)


def test_values_types_and_metadata(local: Store, staged_table: Build, settings: Settings) -> None:
    commit_and_publish(local, [staged_table(BATCHES[0])])
    for name, wanted in schema.tables("float32").items():
        (path,) = local.list(name)
        file = pq.ParquetFile(io.BytesIO(local.read(path)))
        assert file.schema_arrow.remove_metadata() == wanted
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        described = file.schema_arrow.metadata
        assert described[b"schema_version"] == b"3"
        assert (described[b"run_id"], described[b"entry"]) == (b"run-1", b"0")
    (path,) = local.list("embeddings")
    table = pq.read_table(io.BytesIO(local.read(path)))
    assert table["clip_id"].to_pylist() == ["a"] * 6 + ["c"] * 6
    assert table["extractor"].to_pylist() == [*"aaabbb"] * 2
    assert table["segment"].to_pylist() == [0, 1, 2] * 4
    vectors = np.array(table["embedding"].to_pylist())
    np.testing.assert_array_equal(vectors, np.tile(np.arange(6.0), 2)[:, None] * np.ones(128))


def test_only_the_tables_of_the_settings(
    tmp_path: Path, staged_table: Build, settings: Settings
) -> None:
    store = open_store(str(tmp_path))
    open_output(store, replace(settings, tables=("tags", "failures", "clips")))
    commit_and_publish(store, [staged_table([("a", None, "r")])])
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != "_") == ["clips", "tags"]


def test_float16_and_clips_without_embeddings(
    tmp_path: Path, staged_table: Build, settings: Settings
) -> None:
    store = open_store(str(tmp_path))
    open_output(store, replace(settings, embedding_dtype="float16"))
    table = staged_table([("a", None, "r"), ("b", None, "r")], dtype="float16")
    for column in ("embedding_rows", "embedding_values", "tags"):
        at = table.schema.get_field_index(column)
        values = pa.array([table[column][0].as_py(), None], table.schema.field(at).type)
        table = table.set_column(at, table.schema.field(at), values)
    commit_and_publish(store, [table])
    embeddings = pq.read_table(tmp_path / "embeddings", partitioning=None)
    assert embeddings.schema.field("embedding").type == pa.list_(pa.float16(), 128)
    assert Counter(embeddings["clip_id"].to_pylist()) == {"a": 6}
    found = duckdb.sql(f"SELECT max(embedding[1]) FROM '{tmp_path}/embeddings/**/*.parquet'")
    assert found.fetchall() == [(5.0,)]


def test_duckdb_reads_plain_types(local: Store, staged_table: Build) -> None:
    commit_and_publish(local, [staged_table(rows) for rows in BATCHES])
    folder = local.root.replace("'", "''").replace("[", "[[]")
    with duckdb.connect() as database:
        types = {}
        for name, wanted in schema.tables("float32").items():
            rows = database.sql(
                f"DESCRIBE SELECT * FROM read_parquet('{folder}/{name}/**/*.parquet', "
                "hive_partitioning=false)"
            ).fetchall()
            assert [row[0] for row in rows] == wanted.names
            types |= {row[0]: row[1] for row in rows}
        assert types["clip_id"] == types["tag"] == "VARCHAR"
        assert types["embedding"] in ("FLOAT[]", "FLOAT[128]")
        assert types["processed_at"] == "TIMESTAMP WITH TIME ZONE"
        assert types["score"] == "FLOAT" and types["rank"] == "INTEGER"
        count = database.sql(
            f"SELECT tag, count(*) FROM '{folder}/tags/**/*.parquet' WHERE rank = 1 GROUP BY tag"
        )
        assert count.fetchall() == [("Rain", 4)]
