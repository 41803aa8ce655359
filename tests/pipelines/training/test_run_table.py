"""The steps of a work folder as a table."""

import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.cli.main import main
from pipelines.output import layout
from pipelines.storage.store import open_store
from pipelines.training.run_table import run_table
from tagger.errors import CommandError

WORK = Path(__file__).parents[2] / "golden" / "version_1" / "work"


def write_run(store, run_id, verb, config, metrics, state="complete"):
    record = {"run_id": run_id, "verb": verb, "state": state, "wall_s": 1.5}
    record |= {"config": config, "metrics": metrics}
    store.write(layout.run_record(run_id), json.dumps(record).encode())


def network(*losses):
    return {"history": [{"train_loss": loss, "validation_loss": None} for loss in losses]}


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def test_settings_that_differ_within_a_verb_are_shown(store):
    for run_id, rate in (("1", 0.1), ("2", 0.2)):
        config = {
            "work": "w",
            "heads": [{"name": "F", "training": {"learning_rate": rate, "seed": 0}}],
        }
        write_run(store, run_id, "fit", config, {"heads/F/x": network(3.0, rate)})
    write_run(store, "3", "embed", {"work": "w", "copies": 7}, {"n_segments": 12}, "failed")
    table = run_table(store)
    assert list(table.columns) == [
        *("run_id", "verb", "state", "wall_s"),
        "heads.training.learning_rate",
        *("train_loss", "n_segments"),
    ]
    assert table["heads.training.learning_rate"].tolist()[:2] == [0.1, 0.2]
    assert table["train_loss"].tolist()[:2] == [0.1, 0.2]  # of the last epoch
    assert pd.isna(table["train_loss"][2])
    assert (table["n_segments"][2], table["state"][2]) == (12, "failed")


def test_networks_of_one_step_are_averaged(store):
    write_run(store, "1", "fit", {}, {"heads/F/x": network(1.0), "heads/F/y": network(2.0)})
    assert run_table(store)["train_loss"].tolist() == [1.5]


def test_a_folder_without_steps_is_told(store):
    with pytest.raises(CommandError, match="holds no records of training steps"):
        run_table(store)


def test_steps_of_version_1_are_listed(capsys):
    assert main(["runs", "--work", str(WORK), "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["verb"] for row in rows] == [
        *("prepare", "finetune", "embed", "fit", "fit", "evaluate"),
    ]
    assert rows[-1]["all.map_at_3"] == 0.75
    assert main(["runs", "--work", str(WORK)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert main(["runs", "--work", str(WORK), "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("run_id,verb,state,wall_s,")
