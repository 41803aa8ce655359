"""The views of ``views.sql`` as DuckDB has them, and the same views through ``query``.

Every question is put both ways: to DuckDB with the text of ``views.sql``, where the output is
local, and to ``answer``, also where it lies on S3.
"""

import io
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.output.log_entry import Run
from pipelines.output.query import answer
from pipelines.output.settings import Settings, open_output
from pipelines.output.views import TABLES, views_sql, write_views
from pipelines.storage.store import Store, open_store
from tagger import schema
from tests.support.outputs import add

VIEWS = (
    *TABLES,
    *("models", "chosen_model", "current_clips", "current_tags", "current_timeline"),
    *("current_events", "current_embeddings", "top_tags", "open_failures"),
)
ODD = 'it\'s [2024] *new*? 100% "x" 日本'
Build = Callable[..., pa.Table]
Rows = list[tuple[Any, ...]]


@pytest.fixture
def store(out_url: str, settings: Settings) -> Store:
    made = open_store(f"{out_url}/{ODD}")
    open_output(made, settings)
    return made


def asked(store: Store, *questions: str, model: str | None = None) -> list[Rows]:
    """The answers; the same by both ways where the output is local."""
    found = []
    for question in questions:
        with answer(store, question, model) as reader:
            columns = [column.to_pylist() for column in reader.read_all().columns]
        found.append(list(zip(*columns, strict=True)))
    if not store.root.startswith("s3://"):
        write_views(store)
        chosen = f"SET VARIABLE model = '{model}';" if model else ""
        assert by_duckdb(store, *questions, before=chosen) == found
    return found


def by_duckdb(store: Store, *questions: str, before: str = "") -> list[Rows]:
    """As an analyst has it who has DuckDB alone."""
    with duckdb.connect() as database:
        database.execute(before + store.read("views.sql").decode())
        return [database.sql(question).fetchall() for question in questions]


def worked_on(
    staged_table: Build,
    day: int,
    uri: str,
    clip: str,
    reason: str | None = None,
    model: str = "m-1",
) -> pa.Table:
    """One attempt: by a model, on a day, at a recording in one version."""
    table = staged_table([(clip, reason, f"run-{day}")])
    when = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day)
    for name, value in (("processed_at", when), ("uri", uri), ("model_id", model)):
        at = table.schema.get_field_index(name)
        kind = table.schema.field(at)
        table = table.set_column(at, kind, pa.array([value], kind.type))
    return table


def publish_all(store: Store, tables: list[pa.Table]) -> None:
    for table in tables:
        model_id = table["model_id"][0].as_py()
        add(store, table, Run(table["run_id"][0].as_py(), "2026-11-22"), model_id)


@pytest.fixture
def two_models(store: Store, staged_table: Build) -> Store:
    """``m-1`` tagged a, b and c; later ``n-2`` tagged a and b, and failed at c."""
    made = [worked_on(staged_table, 1, f"u/{clip}", clip) for clip in "abc"]
    made += [worked_on(staged_table, 2, f"u/{clip}", clip, None, "n-2") for clip in "ab"]
    made += [worked_on(staged_table, 3, "u/c", "c", "timeout", "n-2")]
    publish_all(store, made)
    return store


COUNTS = tuple(f"SELECT count(*) FROM {view}" for view in VIEWS)


def counts(store: Store, model: str | None = None) -> dict[str, int]:
    return dict(
        zip(VIEWS, (rows[0][0] for rows in asked(store, *COUNTS, model=model)), strict=True)
    )


def test_two_models_do_not_count_twice(two_models: Store) -> None:
    everything = {"clips": 5, "tags": 10, "timeline": 5, "events": 5, "embeddings": 30}
    last = {"current_clips": 2, "current_tags": 4, "current_timeline": 2, "top_tags": 2}
    last |= {"current_events": 2, "current_embeddings": 12, "open_failures": 1}
    models = {"failures": 1, "models": 2, "chosen_model": 1}
    assert counts(two_models) == everything | last | models
    first = {"current_clips": 3, "current_tags": 6, "current_timeline": 3, "top_tags": 3}
    first |= {"current_events": 3, "current_embeddings": 18, "open_failures": 0}
    assert counts(two_models, "m-1") == everything | first | models
    assert counts(two_models, "n-2") == everything | last | models
    by_model = "SELECT model_id, n_clips FROM models ORDER BY ALL"
    both = "SELECT DISTINCT model_id FROM {} ORDER BY 1"
    chosen, models_, *found = asked(
        two_models, "FROM chosen_model", by_model, *(both.format(table) for table in TABLES[:4])
    )
    assert (chosen, models_) == ([("n-2",)], [("m-1", 3), ("n-2", 2)])
    assert found == [
        [("n-2",)] if table == "failures" else [("m-1",), ("n-2",)] for table in TABLES[:4]
    ]


def test_a_model_that_tagged_nothing_is_not_the_one_that_tagged_last(
    store: Store, staged_table: Build
) -> None:
    publish_all(
        store,
        [
            worked_on(staged_table, 1, "u/a", "a"),
            worked_on(staged_table, 2, "u/a", "a", "timeout", "n-2"),
        ],
    )
    assert asked(store, "FROM chosen_model", "SELECT count(*) FROM top_tags") == [
        [("m-1",)],
        [(1,)],
    ]


def test_segments_and_bags_have_their_recording_and_seconds(two_models: Store) -> None:
    timeline, embeddings = asked(
        two_models,
        "SELECT uri, model_id, bag, start_s, end_s FROM timeline ORDER BY ALL",
        "SELECT uri, extractor, segment, start_s, end_s, len(embedding), embedding[1] "
        "FROM current_embeddings WHERE uri = 'u/a' ORDER BY ALL",
    )
    assert timeline == [
        *((f"u/{clip}", model, 0, 0.0, 2.88) for clip in "ab" for model in ("m-1", "n-2")),
        ("u/c", "m-1", 0, 0.0, 2.88),
    ]
    assert [row[:4] for row in embeddings] == [
        ("u/a", extractor, i, i * 0.96) for extractor in "ab" for i in range(3)
    ]
    assert [row[5:] for row in embeddings] == [(128, float(i)) for i in range(6)]


def test_the_newest_version_and_open_failures(store: Store, staged_table: Build) -> None:
    publish_all(
        store,
        [
            worked_on(staged_table, 1, "u", "u1"),
            worked_on(staged_table, 2, "u", "u2"),
            worked_on(staged_table, 1, "mended", "m1", "timeout"),
            worked_on(staged_table, 2, "mended", "m1"),
            worked_on(staged_table, 1, "changed", "c1", "decode_error"),
            worked_on(staged_table, 2, "changed", "c2"),
            worked_on(staged_table, 1, "broken", "b1"),
            worked_on(staged_table, 2, "broken", "b2", "timeout"),
            worked_on(staged_table, 3, "broken", "b2", "decode_error"),
        ],
    )
    current, tags, top, failures = asked(
        store,
        "SELECT clip_id FROM current_clips ORDER BY clip_id",
        "SELECT clip_id, count(*) FROM current_tags GROUP BY clip_id ORDER BY clip_id",
        "SELECT clip_id, tag FROM top_tags ORDER BY clip_id",
        "SELECT clip_id, reason FROM open_failures",
    )
    assert current == [("b1",), ("c2",), ("m1",), ("u2",)]
    assert tags == [(clip, 2) for (clip,) in current]
    assert top == [(clip, "Rain") for (clip,) in current]
    assert failures == [("b2", "decode_error")]


def test_views_of_an_empty_output_have_the_same_columns(store: Store, staged_table: Build) -> None:
    shapes = [f"SELECT column_name, column_type FROM (DESCRIBE {view})" for view in VIEWS]
    assert asked(store, *(f"FROM {view}" for view in VIEWS)) == [
        [(None,)] if view == "chosen_model" else [] for view in VIEWS
    ]
    empty = asked(store, *shapes)
    publish_all(store, [worked_on(staged_table, 1, "u/a", "a")])
    assert asked(store, *shapes) == empty
    for view, shape in zip(TABLES, empty, strict=False):
        wanted = schema.tables("float32")[view].names
        assert [name for name, _ in shape if name in wanted] == wanted
        assert {"clip_id", "uri", "model_id"} <= {name for name, _ in shape}


def test_files_of_two_versions_lie_beside_each_other(store: Store, staged_table: Build) -> None:
    """A column that a later version adds is null in the files of an earlier one."""
    publish_all(store, [worked_on(staged_table, day, f"u/{day}", f"c{day}") for day in (1, 2)])
    old, _ = (path for path in store.list("clips"))
    table = pq.read_table(io.BytesIO(store.read(old))).drop_columns(["damage", "peak"])
    store.write(old, _parquet(table))
    for path in store.list("tags")[:1]:
        later = pq.read_table(io.BytesIO(store.read(path)))
        store.write(path, _parquet(later.append_column("of_a_later_version", pa.array([1, 2]))))
    peaks, tags = asked(
        store, "SELECT uri, peak, damage FROM clips ORDER BY uri", "SELECT count(*) FROM tags"
    )
    assert peaks == [("u/1", None, None), ("u/2", 1.0, None)]
    assert tags == [(4,)]
    for path in store.list("clips"):
        store.write(path, _parquet(table))
    assert asked(store, "SELECT peak FROM clips") == [[(None,), (None,)]]


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize("place", ["plain", ODD, "deeper/[a-z]/**/{x,y}"])
def test_an_output_that_was_moved_or_copied(
    place: str, tmp_path: Path, settings: Settings, staged_table: Build
) -> None:
    here = open_store(str(tmp_path / "here"))
    open_output(here, settings)
    publish_all(here, [worked_on(staged_table, 1, "u/a", "a")])
    write_views(here)
    there = tmp_path / place
    shutil.copytree(here.root, there)
    publish_all(here, [worked_on(staged_table, 2, "u/b", "b")])
    copied, moved = open_store(str(there)), open_store(str(tmp_path / "moved"))
    question = "SELECT uri FROM top_tags"
    where = str(there).replace("'", "''")
    assert by_duckdb(copied, question, before=f"SET VARIABLE out = '{where}';") == [[("u/a",)]]
    with answer(copied, question) as rows:  # reads not here, where there is more
        assert rows.read_all().to_pylist() == [{"uri": "u/a"}]
    Path(copied.root).rename(moved.root)
    with answer(moved, question) as rows:
        assert rows.read_all().to_pylist() == [{"uri": "u/a"}]
    write_views(moved)  # as the next run does
    assert by_duckdb(moved, question) == [[("u/a",)]]


def test_views_that_were_saved_in_a_database_stay_right(
    tmp_path: Path, settings: Settings, staged_table: Build
) -> None:
    store = open_store(str(tmp_path / "out"))
    open_output(store, settings)
    publish_all(store, [worked_on(staged_table, 1, "u/a", "a")])
    write_views(store)
    with duckdb.connect(str(tmp_path / "views.db")) as database:
        database.execute(store.read("views.sql").decode())
    with duckdb.connect(str(tmp_path / "views.db")) as database:
        assert database.sql("SELECT uri, tag FROM top_tags").fetchall() == [("u/a", "Rain")]
        database.execute("SET VARIABLE model = 'another'")
        assert database.sql("FROM top_tags").fetchall() == []


def test_a_folder_whose_name_is_no_text(
    tmp_path: Path, settings: Settings, staged_table: Build
) -> None:
    store = open_store(str(tmp_path / "caf\udce9"))
    open_output(store, settings)
    publish_all(store, [worked_on(staged_table, 1, "u/a", "a")])
    write_views(store)
    with answer(store, "SELECT uri FROM top_tags") as rows:
        assert rows.read_all().to_pylist() == [{"uri": "u/a"}]


def test_an_unchanged_views_file_is_not_written(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    write_views(store)
    before = Path(store.root, "views.sql").stat().st_mtime_ns
    write_views(store)
    assert Path(store.root, "views.sql").stat().st_mtime_ns == before


def test_tables_without_files_are_views_without_rows() -> None:
    assert "read_parquet" not in views_sql("x", [])
    assert views_sql("x", ["clips", "tags"]).count("read_parquet") == 2
