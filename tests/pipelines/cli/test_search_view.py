"""``search`` on the command line: what it shows, writes and refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from pipelines.cli.main import Exit, main
from pipelines.storage.store import open_store
from tests.support.embedded import Embedded, begin, publish_clips


@pytest.fixture
def tables(tmp_path):
    store = open_store(str(tmp_path / "out"))
    begin(store)
    one, two = np.eye(128)[:2]
    clips = {"q": one, "a": one + 0.5 * two, "b\x1b[2J.wav": two}
    publish_clips(store, [Embedded(name, vector[None]) for name, vector in clips.items()])
    return store.root


@pytest.fixture
def told(capsys, tables):
    def run(*words, code=Exit.DONE):
        assert main(["search", *words, "--tables", tables]) == code
        return capsys.readouterr()

    return run


WANTED = [
    {"uri": "file:///a", "start_s": 0.0, "end_s": 0.96, "score": pytest.approx(0.8944272)},
    {"uri": "file:///b\x1b[2J.wav", "start_s": 0.0, "end_s": 0.96, "score": 0.0},
]


def test_for_people(told):
    assert told("/q").out.splitlines() == [
        "0.894  0.00 to 0.96 s        /a",
        r"0.000  0.00 to 0.96 s        /b\x1b[2J.wav",
    ]
    assert told("/q", "/a", "/b\x1b[2J.wav", "--per-clip").out == "nothing found\n"


def test_json(told):
    assert json.loads(told("/q", "--json").out) == WANTED
    assert json.loads(told("/q", "--json", "--top", "1").out) == WANTED[:1]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "CSV"])
def test_files(told, tmp_path, suffix):
    path = tmp_path / f"answers.{suffix}"
    assert told("/q", "--out", str(path)).out == ""
    found = getattr(pd, f"read_{suffix.lower()}")(path)
    assert found.to_dict("records") == [
        row | {"score": pytest.approx(row["score"])} for row in WANTED
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--out", "a.txt"], "error: --out must end in one of .csv, .json, .parquet\n"),
        (["--out", "/no/where/a.csv"], "error: --out lies in /no/where, which is no folder\n"),
        (["--out", "a.csv", "--json"], "error: --json does not go with --out\n"),
        (["--top", "0"], "error: --top must be greater than 0\n"),
        (["--segment", "1"], "error: --segment takes 2 numbers\n"),
        (["--segment", "5", "6"], "error: --segment holds no segment of file:///q"),
        (["--extractor", "x"], "error: there is no extractor x; there are: first, second\n"),
        (["--model", "/no"], "error: "),
        (["--tag", "Rian"], "error: --tag is a tag that no clip has: Rian; did you mean Rain?\n"),
        (["--not", "nowhere.wav"], "error: no clip of "),
    ],
)
def test_errors_are_one_line(told, words, line):
    found = told("/q", *words, code=Exit.COMMAND)
    assert found.out == ""
    assert found.err.startswith(line)
    assert found.err.count("\n") == 1


def test_a_file_that_cannot_be_written(told, tmp_path):
    (tmp_path / "a.csv").mkdir()
    found = told("/q", "--out", str(tmp_path / "a.csv"), code=Exit.ACCESS_DENIED)
    assert "a.csv cannot be written" in found.err


def test_no_output(capsys, tmp_path):
    assert main(["search", "q", "--tables", str(tmp_path)]) == Exit.COMMAND
    assert "holds no output" in capsys.readouterr().err
