"""Outputs of the second version, which knew no novelty, stay readable and are gone on with."""

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from pipelines.cli.main import main
from pipelines.output.query import answer
from pipelines.output.status import status
from pipelines.storage.store import open_store
from tagger.schema import SCHEMA_VERSION
from tests.support.sounds import write_sounds

GOLDEN = Path(__file__).parent / "golden"
MODEL = GOLDEN / "version_1" / "model"


@pytest.fixture
def out(tmp_path):
    """A copy that may be written to."""
    return Path(shutil.copytree(GOLDEN / "version_2" / "output", tmp_path / "output"))


def ask(out: Path, question: str) -> list[tuple[object, ...]]:
    with answer(open_store(str(out)), question) as rows:
        return [tuple(row.values()) for row in rows.read_all().to_pylist()]


def test_it_is_read_verified_and_asked(out):
    (model,) = status(open_store(str(out)), verify="bytes").models
    assert (model.n_tagged, model.open_failures, model.broken) == (3, {"empty": 1}, ())
    assert ask(out, "SELECT count(*), count(novelty), count(none_of_these) FROM clips") == [
        (3, 0, 0)
    ]
    as_tagged = "SELECT count(*) FROM current_tags JOIN top_tags USING (clip_id, tag, score)"
    assert ask(out, as_tagged) == [(3,)]


def test_it_is_gone_on_with(out, tmp_path, capsys):
    audio = write_sounds(tmp_path / "audio", 2)
    command = ["tag", str(audio), "--out", str(out), "--model", str(MODEL)]
    assert main([*command, "--embedding-dtype", "float16"]) == 0, capsys.readouterr().err
    assert main(["status", str(out), "--verify"]) == 0
    assert json.loads((out / "_output.json").read_bytes())["schema_version"] == SCHEMA_VERSION
    assert ask(out, "SELECT count(*), count(novelty) FROM current_clips") == [(5, 0)]
    assert main(["compact", str(out)]) == 0
    assert main(["status", str(out), "--verify"]) == 0
    with duckdb.connect() as connection:
        connection.execute((out / "views.sql").read_text())
        (row,) = connection.execute("SELECT count(*), count(novelty) FROM top_tags").fetchall()
    assert row == (5, 0)
