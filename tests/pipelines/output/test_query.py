"""``query`` reads the tables of an output and can do nothing else, wherever the output lies."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipelines.output.query import answer
from pipelines.output.settings import Settings, open_output
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError, OptionError
from tests.support.outputs import add
from tests.support.s3_proxy import Fault, S3Proxy

Build = Callable[..., pa.Table]


@pytest.fixture
def store(out_url: str, settings: Settings, staged_table: Build) -> Store:
    made = open_store(out_url, patience_s=1)
    open_output(made, settings)
    add(made, staged_table([("a", None, "r"), ("b", "empty", "r")]))
    made.write("_forgotten/key", b"a secret")
    return made


def asked(store: Store, sql: str, model: str | None = None) -> list[dict[str, Any]]:
    with answer(store, sql, model) as rows:
        found: list[dict[str, Any]] = rows.read_all().to_pylist()
    return found


READ = (
    "SELECT uri, tag FROM top_tags",
    "FROM top_tags SELECT uri, tag;",
    "WITH t AS (FROM top_tags) SELECT uri, tag FROM t -- and a comment",
    "SELECT uri, tag FROM query_table('top_tags')",
    "SELECT uri, tag FROM Top_Tags WHERE (SELECT count(*) FROM failures) = 1",
)


@pytest.mark.parametrize("sql", READ)
def test_what_reads_is_answered(store: Store, sql: str) -> None:
    assert asked(store, sql) == [{"uri": "file:///a", "tag": "Rain"}]


def test_what_there_is_can_be_seen(store: Store) -> None:
    names = {row["name"] for row in asked(store, "SHOW TABLES")}
    assert {"clips", "tags", "timeline", "embeddings", "failures", "top_tags", "models"} <= names
    assert [row["column_name"] for row in asked(store, "DESCRIBE failures")][:2] == [
        "clip_id",
        "uri",
    ]
    assert asked(store, "SUMMARIZE tags")
    assert asked(store, "SELECT processed_at::DATE::VARCHAR AS day FROM clips") == [
        {"day": "2026-11-22"}
    ]


NOT_ONE_SELECT = (
    *("", "  ", "-- nothing", "SELECT 1; SELECT 2", "SELECT 1; DROP VIEW clips"),
    *("CREATE TABLE t (a INT)", "CREATE VIEW v AS SELECT 1", "DROP VIEW clips", "CHECKPOINT"),
    *("SET threads = 1", "SET VARIABLE out = '/'", "RESET lock_configuration", "PRAGMA version"),
    *("ATTACH '{file}.db'", "COPY clips TO '{file}.csv'", "EXPORT DATABASE '{file}'"),
    *(
        "COPY clips TO 'output://tables/clips/x.parquet'",
        "EXPLAIN ANALYZE COPY clips TO '{file}.csv'",
    ),
    *("INSTALL httpfs", "LOAD httpfs", "CALL pragma_version()", "USE memory", "VACUUM"),
    *("PREPARE q AS SELECT 1", "CREATE SECRET (TYPE s3)", "BEGIN", "INSERT INTO clips VALUES (1)"),
    *("DELETE FROM clips", "UPDATE clips SET uri = 'x'", "IMPORT DATABASE '{file}'"),
)


@pytest.mark.parametrize("sql", NOT_ONE_SELECT)
def test_what_does_not_read_is_refused(store: Store, sql: str, tmp_path: Path) -> None:
    file = tmp_path / "beside"
    with pytest.raises(CommandError, match="one SELECT; nothing else"):
        asked(store, sql.format(file=file))
    assert list(tmp_path.glob("beside*")) == []


BESIDE = (
    "FROM read_text('{file}')",
    "FROM read_blob('{file}')",
    "FROM '{file}'",
    "FROM read_csv('{file}')",
    "FROM read_json_auto('{file}')",
    "FROM sniff_csv('{file}')",
    "FROM glob('{folder}/*')",
    "FROM read_parquet('{folder}/out/clips/**/*.parquet')",
    "FROM read_text('{folder}/out/_forgotten/key')",
    "FROM read_text('output://tables/_forgotten/key')",
    "FROM read_text('output://tables/_output.json')",
    "FROM glob('output://**')",
    "FROM read_text('http://127.0.0.1:9/x')",
    "FROM read_parquet('s3://bucket/x.parquet')",
    "FROM read_text('/proc/self/environ')",
    "FROM query('COPY clips TO ''{file}.csv''')",
    "FROM (COPY clips TO '{file}.csv')",
    "WITH w AS (INSERT INTO clips VALUES (1) RETURNING *) FROM w",
    "FROM duckdb_secrets()",
    "SELECT getenv('HOME')",
    "FROM store",
)


@pytest.mark.parametrize("sql", BESIDE)
def test_nothing_beside_the_tables_can_be_reached(store: Store, sql: str, tmp_path: Path) -> None:
    file = tmp_path / "beside.csv"
    file.write_text("a,b\n1,a secret\n")
    with pytest.raises(CommandError) as caught:
        asked(store, sql.format(file=file, folder=tmp_path))
    assert "\n" not in str(caught.value)
    assert "a secret" not in str(caught.value)
    assert [path.name for path in tmp_path.glob("beside*")] == ["beside.csv"]


def test_paths_that_lead_out_of_a_table_lead_nowhere(store: Store) -> None:
    with answer(store, "FROM read_blob('output://tables/clips/../_forgotten/key')") as rows:
        assert b"a secret" not in str(rows.read_all().to_pylist()).encode()


def test_mistakes_are_told_in_one_line(store: Store) -> None:
    for sql, said in (
        ("SELECT 1 FROM", "Parser Error"),
        ("SELECT nothing FROM clips", "nothing"),
        ("FROM nowhere", "nowhere"),
        ("SELECT error('at ' || uri) FROM clips", "at file:///a"),
        ("SELECT uri::INT FROM clips", "file:///a"),
    ):
        with pytest.raises(CommandError, match=said) as caught:
            asked(store, sql)
        assert "\n" not in str(caught.value)


def test_a_model_is_one_of_the_output(store: Store) -> None:
    assert asked(store, "FROM chosen_model", "m-1") == [{"model_id": "m-1"}]
    with pytest.raises(OptionError, match="names no model of this output: there are m-1"):
        asked(store, "FROM chosen_model", "m'; SELECT 1")


def test_not_an_output(out_url: str) -> None:
    with pytest.raises(CommandError, match="no output"):
        asked(open_store(out_url), "SELECT 1")


def test_tables_alone_are_enough(store: Store, out_url: str) -> None:
    """Copied without what else lies in an output."""
    copy = open_store(f"{out_url}-copy")
    for table in ("clips", "tags"):
        for path in store.list(table):
            copy.write(path, store.read(path))
    assert asked(copy, READ[0]) == asked(store, READ[0])


def test_a_damaged_file_is_named(store: Store) -> None:
    (path,) = store.list("clips")
    store.write(path, b"no Parquet")
    with pytest.raises(CommandError, match=r"clips/model=m-1/.*\.parquet") as caught:
        asked(store, "FROM clips")
    assert f"{store.root}/clips" in str(caught.value)


def test_a_file_that_goes_meanwhile(store: Store) -> None:
    """The listing is that of the beginning; ``compact`` removes files after it."""

    class Fickle(type(store)):  # type: ignore[misc]
        def list(self, folder: str) -> list[str]:
            found: list[str] = super().list(folder)
            self.remove(found)
            return found

    with pytest.raises(CommandError, match="exchanged meanwhile"):
        asked(Fickle(store.root, 1), "FROM clips")


def test_many_threads_read_one_file(
    tmp_path: Path, settings: Settings, staged_table: Build
) -> None:
    """DuckDB moves and reads in one file from several threads at once."""
    store = open_store(str(tmp_path))
    open_output(store, settings)
    n = 3000
    add(store, staged_table([(f"clip-{i}", None, "r") for i in range(n)]))
    for _ in range(5):
        assert asked(
            store,
            "SELECT count(*) AS n, sum(embedding[1]) AS s, sum(len(embedding)) AS l "
            "FROM embeddings",
        ) == [{"n": 6 * n, "s": 15.0 * n, "l": 6 * n * 128}]


@pytest.mark.s3
class TestOnS3:
    @pytest.fixture
    def store(self, proxy: S3Proxy, s3: Any, settings: Settings, staged_table: Build) -> Store:
        made = open_store(s3.new_prefix(), patience_s=2)
        open_output(made, settings)
        add(made, staged_table([("a", None, "r")]))
        return made

    @pytest.mark.parametrize("kind", ["503 SlowDown", "reset", "cut"])
    def test_a_store_that_stumbles_is_asked_again(
        self, kind: str, store: Store, proxy: S3Proxy
    ) -> None:
        proxy.faults = [Fault(kind, "^GET .*(clips|tags)/.*parquet", times=3)]
        assert asked(store, READ[0]) == [{"uri": "file:///a", "tag": "Rain"}]
        assert proxy.spoilt[kind] == 3

    def test_a_store_that_fails_is_no_mistake_in_the_question(
        self, store: Store, proxy: S3Proxy
    ) -> None:
        proxy.faults = [Fault("503 SlowDown", "^GET .*clips/.*parquet")]
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            asked(store, READ[0])
        assert time.monotonic() - begun < 60
        proxy.faults = [Fault("403 InvalidAccessKeyId", "^GET .*clips/.*parquet")]
        with pytest.raises(AccessDenied):
            asked(store, READ[0])
