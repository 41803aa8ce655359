"""Outputs, models and work folders of the first version stay readable."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.output.status import status
from pipelines.storage.store import open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.preview import preview
from pipelines.training import evaluate
from pipelines.training.jobs import EvaluateJob
from tagger import Tagger

VERSION_1 = Path(__file__).parent / "golden" / "version_1"


@pytest.fixture
def version_1(tmp_path):
    """A copy that may be written to."""
    return Path(shutil.copytree(VERSION_1, tmp_path / "version_1"))


def test_an_output_is_read_and_verified(version_1):
    (model,) = status(open_store(str(version_1 / "output")), verify="bytes").models
    assert (model.n_tagged, model.open_failures, model.broken) == (3, {"empty": 1}, ())
    assert main(["status", str(version_1 / "output"), "--verify"]) == 0


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
    assert record.metrics == before


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
