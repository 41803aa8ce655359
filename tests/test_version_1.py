"""Outputs, models and work folders of the first version stay readable."""

import json
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.output.status import status
from pipelines.searching.job import SearchJob
from pipelines.searching.run import find
from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.preview import preview
from pipelines.training import evaluate
from pipelines.training.jobs import EvaluateJob
from tagger import Tagger, levels
from tagger.schema import SCHEMA_VERSION
from tests.support.sounds import write_sounds

VERSION_1 = Path(__file__).parent / "golden" / "version_1"


@pytest.fixture
def version_1(tmp_path):
    """A copy that may be written to."""
    return Path(shutil.copytree(VERSION_1, tmp_path / "version_1"))


def test_an_output_is_read_and_verified(version_1):
    (model,) = status(open_store(str(version_1 / "output")), verify="bytes").models
    assert (model.n_tagged, model.open_failures, model.broken) == (3, {"empty": 1}, ())
    assert main(["status", str(version_1 / "output"), "--verify"]) == 0


def test_an_output_is_searched_in(version_1):
    tables = str(version_1 / "output")
    (clips,) = (version_1 / "output" / "clips").rglob("*.parquet")
    uri = pq.ParquetFile(clips).read()["uri"][0].as_py()
    found = find(SearchJob(queries=(uri,), tables=tables, per_clip=True))
    assert len(found) == 2
    assert uri not in found["uri"].to_pylist()


def test_a_model_has_the_name_that_its_tables_have(version_1):
    (tables,) = (version_1 / "output" / "clips").iterdir()
    tagger = Tagger.load(version_1 / "model")
    assert f"model={tagger.card.model_id}" == tables.name


def test_a_changed_byte_of_a_table_is_not_accepted(version_1):
    (file,) = (version_1 / "output" / "tags").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    (model,) = status(open_store(str(version_1 / "output")), verify="bytes").models
    assert model.broken


def test_the_log_tells_what_is_left_to_do(version_1, tmp_path):
    audio = tmp_path / "audio"
    audio.mkdir()
    (audio / "new.wav").write_bytes(b"")
    job = TagJob(
        inputs=(str(audio),),
        out=str(version_1 / "output"),
        model=str(version_1 / "model"),
        timeline=True,
        embedding_dtype="float16",
    )
    found = preview(job)
    assert (found.n_listed, found.n_to_do) == (1, 1)


def test_an_evaluation_of_a_work_folder_gives_the_figures_it_gave(version_1):
    work = version_1 / "work"
    before = json.loads((work / "evaluations" / "e" / "metrics.json").read_text())
    members = (("F", "x"), ("B", "x"), ("classifier", "x"))
    record = evaluate.run(EvaluateJob(work=str(work), name="again", members=members), [])
    _assert_among(before, record.metrics)
    assert (work / "evaluations" / "again" / "mistakes.csv").read_text().startswith("name,uri,")


def _assert_among(figures: object, found: object) -> None:
    """All of these are there; there may be more of them by now."""
    if isinstance(figures, dict):
        for name in figures:
            _assert_among(figures[name], found[name])
    elif isinstance(figures, list):
        for pair in zip(figures, found, strict=True):
            _assert_among(*pair)
    else:
        assert found == figures


def test_steps_that_are_done_are_not_done_again(version_1, capsys):
    """The commands as they were given; nothing starts Ray, for nothing is left to do."""
    work = str(version_1 / "work")
    files = {path: path.stat().st_mtime_ns for path in Path(work).rglob("*") if path.is_file()}
    small = ("--epochs", "1", "--patience", "0")
    widths = ("--conv-widths", "2", "3", "4", "5", "--hidden", "8")
    for command in (
        ("finetune", "--work", work, "--name", "x", "--split", "fold-1", *widths, *small),
        ("embed", "--work", work, "--extractors", "x"),
        (
            *("fit", "--work", work, "--extractors", "x", "--name", "F", "--hidden", "8"),
            *("--copies", "1", "--mixup", "0.2", *small),
        ),
        (
            *("fit", "--work", work, "--extractors", "x", "--name", "B", "--kind", "lstm"),
            *("--hidden", "4", *small),
        ),
    ):
        assert main(list(command)) == 0, capsys.readouterr().err
    assert all(path.stat().st_mtime_ns == when for path, when in files.items())


def _rows(folder: Path) -> list[dict[str, object]]:
    return [row for path in folder.rglob("*.parquet") for row in pq.read_table(path).to_pylist()]


def test_an_output_is_gone_on_with(version_1, tmp_path, capsys):
    """New recordings beside old ones: verified, merged, forgotten, and asked for by the views."""
    out = version_1 / "output"
    command = ["--out", str(out), "--model", str(version_1 / "model"), "--timeline"]
    command += ["--embedding-dtype", "float16", "--top-k", "3"]
    audio = write_sounds(tmp_path / "audio", 3)
    samples, rate = soundfile.read(audio / "1.wav")
    soundfile.write(audio / "1.wav", np.stack([samples, -samples], axis=1), rate)
    old = {row["uri"] for row in _rows(out / "clips")}
    for names in (["0.wav"], ["0.wav", "1.wav", "2.wav"]):
        inputs = [str(audio / name) for name in names]
        assert main(["tag", *inputs, *command]) == 0, capsys.readouterr().err
        assert main(["status", str(out), "--verify"]) == 0
    assert json.loads((out / "_output.json").read_bytes())["schema_version"] == SCHEMA_VERSION
    rows = _rows(out / "clips")
    assert {row["uri"] for row in rows} == old | {f"file://{audio}/{n}.wav" for n in range(3)}
    assert {row["uri"]: row.get("notes") for row in rows if row.get("notes")} == {
        f"file://{audio}/1.wav": levels.CANCELLED
    }
    query = "SELECT count(*), count(notes) FROM current_clips"
    assert _by_views(out, query) == [(6, 1)]
    assert main(["compact", str(out)]) == 0
    assert main(["forget", str(out), min(old), str(audio / "1.wav")]) == 0
    assert main(["status", str(out), "--verify"]) == 0
    assert _by_views(out, query) == [(4, 0)]
    assert {row["uri"] for row in _rows(out / "clips")} >= old - {min(old)}


def test_an_output_gets_what_this_version_has_from_its_embeddings(version_1, tmp_path, capsys):
    out, model = version_1 / "output", version_1 / "model"
    before = {name: _rows(out / name) for name in ("clips", "tags", "embeddings", "timeline")}
    assert main(["retag", str(out), "--model", str(model)]) == 0, capsys.readouterr().err
    assert "float16" in capsys.readouterr().out
    assert main(["status", str(out), "--verify"]) == 0
    after = {name: _rows(out / name) for name in before}
    assert after["embeddings"] == before["embeddings"]
    assert len(after["timeline"]) == len(before["timeline"])
    for row, old in _pairs(after["clips"], before["clips"]):
        assert row.items() >= old.items()
    for row, old in _pairs(after["tags"], before["tags"]):
        assert (row["clip_id"], row["tag"]) == (old["clip_id"], old["tag"])
        assert row["score"] == pytest.approx(old["score"], abs=5e-3)
        assert row["max_score"] >= row["score"] - 1e-6
        assert row["heard_s"] >= 0
    loud = {row["clip_id"] for row in after["tags"] if row["max_score"] >= 0.5}
    assert {row["clip_id"] for row in _rows(out / "events")} == loud
    (tmp_path / "new.wav").write_bytes(b"")
    command = ["--timeline", "--embedding-dtype", "float16", "--top-k", "3", "--max-failed", "1"]
    command += ["--out", str(out), "--model", str(model)]
    assert main(["tag", str(tmp_path / "new.wav"), *command]) == 0


def _pairs(rows, others):
    """Rows of two tables that belong to the same clip and rank."""
    key = lambda row: (row["clip_id"], row.get("rank", 0))  # noqa: E731
    return zip(sorted(rows, key=key), sorted(others, key=key), strict=True)


def test_an_output_that_was_only_looked_at_answers_the_views(version_1, tmp_path, capsys):
    out = version_1 / "output"
    assert main(["compact", str(out)]) == 0, capsys.readouterr().err
    assert _by_views(out, "SELECT count(*), count(notes) FROM clips") == [(3, 0)]


def _by_views(out: Path, query: str) -> list[tuple[int, ...]]:
    with duckdb.connect() as connection:
        connection.execute((out / "views.sql").read_text())
        return connection.execute(query).fetchall()
