"""``query`` on the command line: how answers are written, and how it ends."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pyarrow as pa
import pytest

from pipelines.cli.answers import MOST_ROWS
from pipelines.cli.main import Exit, main
from pipelines.output.settings import Settings, open_output
from pipelines.storage.store import open_store
from tests.support.commands import ROOT, Done, carry_out
from tests.support.outputs import add


@pytest.fixture
def out(out_url: str, settings: Settings, staged_table: Callable[..., pa.Table]) -> str:
    store = open_store(out_url)
    open_output(store, settings)
    add(store, staged_table([("a", None, "r"), ("b\x1b", None, "r"), ("c", "empty", "r")]))
    return out_url


def asked(out: str, sql: str, *options: str) -> Done:
    return carry_out("query", out, sql, *options)


def test_a_table_for_people(out: str) -> None:
    done = asked(out, "SELECT uri, tag, score, n_segments FROM top_tags JOIN clips USING (uri)")
    assert (done.code, done.err) == (Exit.DONE, "")
    head, rule, *rows = done.out.splitlines()
    assert head.split() == ["uri", "│", "tag", "│", "score", "│", "n_segments"]
    assert set(rule) == {"─", "┼"}
    assert sorted(row.split()[0] for row in rows) == ["file:///a", r"file:///b\x1b"]
    assert all(row.split()[2:] == ["Rain", "│", "0.75", "│", "3"] for row in rows)


def test_only_the_first_rows_are_for_people(out: str) -> None:
    done = asked(out, f"FROM range({MOST_ROWS})")
    assert len(done.out.splitlines()) == 2 + MOST_ROWS
    lines = asked(out, f"FROM range({MOST_ROWS + 1})").out.splitlines()
    assert len(lines) == 3 + MOST_ROWS
    assert lines[-1] == "… and more than these 1,000 rows: --format csv writes them all"


VALUES = """SELECT range AS n, NULL AS nothing, 'a,"b" ü' AS text, [1, 2] AS list, {'x': 0.5} AS s,
    TIMESTAMPTZ '2026-11-26 01:02:03+00' AS at, true AS yes, 1.25::DECIMAL(9, 2) AS d,
    'nan'::DOUBLE AS nan FROM range(30000)"""


def test_csv_and_json_hold_all_rows(out: str) -> None:
    rows = list(csv.DictReader(io.StringIO(asked(out, VALUES, "--format", "csv").out)))
    assert len(rows) == 30_000
    assert rows[7] == {
        "n": "7",
        "nothing": "",
        "text": 'a,"b" ü',
        "list": "[1, 2]",
        "s": '{"x": 0.5}',
        "at": "2026-11-26T01:02:03+00:00",
        "yes": "true",
        "d": "1.25",
        "nan": "nan",
    }
    objects = json.loads(asked(out, VALUES, "--format", "json").out)
    assert len(objects) == 30_000
    assert objects[7] == {
        "n": 7,
        "nothing": None,
        "text": 'a,"b" ü',
        "list": [1, 2],
        "s": {"x": 0.5},
        "at": "2026-11-26T01:02:03+00:00",
        "yes": True,
        "d": 1.25,
        "nan": None,
    }


def test_answers_without_rows(out: str) -> None:
    question = "SELECT uri, tag FROM tags WHERE false"
    assert asked(out, question).out == "uri │ tag\n────┼────\n"
    assert asked(out, question, "--format", "csv").out == "uri,tag\n"
    assert json.loads(asked(out, question, "--format", "json").out) == []


def test_columns_of_the_same_name(out: str) -> None:
    assert asked(out, "SELECT 1 AS a, 2 AS a", "--format", "csv").out == "a,a\n1,2\n"
    done = asked(out, "SELECT 1 AS a, 2 AS a", "--format", "json")
    assert (done.code, done.out) == (Exit.COMMAND, "")
    assert "two columns are called a" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["FROM nowhere"], "error: SQL: Catalog Error: Table with name nowhere"),
        (["DROP TABLE clips"], "error: a question is one SELECT"),
        (["SELECT 1", "--model", "x"], "error: --model names no model of this output"),
        (["SELECT 1", "--format", "xml"], "error: --format takes one of table, csv, json"),
        (
            ["SELECT error('at ' || n) FROM range(99999) t(n) WHERE n > 9999", "--format", "csv"],
            "at",
        ),
    ],
)
def test_mistakes_end_with_two_and_one_line(words: list[str], said: str, out: str) -> None:
    done = asked(out, *words)
    assert done.code == Exit.COMMAND
    assert said in done.err
    assert done.err.count("\n") == 1


def test_not_an_output(tmp_path: object) -> None:
    assert main(["query", str(tmp_path), "SELECT 1"]) == Exit.COMMAND


LONG = "SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 3"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_long_question_is_interrupted(number: signal.Signals, out: str) -> None:
    command = [sys.executable, "-m", "pipelines", "query", out, LONG]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (128 + number, f"error: ended by {number.name}\n")
