"""The training verbs as the README gives them, from recordings to a model that tags."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import Exit, main
from tagger import checkpoint
from tagger.card import read_model
from tagger.configs import VGGishConfig
from tagger.vggish import VGGish, initialise
from tests.support.small_data import write_folds

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(400),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

NETWORK = "--start vggish --normalise --copies 1"
TRAINING = "--epochs 2 --weight-decay 0.01 --one-cycle --average 0.9 --bfloat16 --seed 3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    write_folds(folder, n_folds=3)
    network = VGGish(VGGishConfig((2, 2, 4, 4), 8))
    initialise(network)
    checkpoint.save(folder / "vggish", "vggish", [], {"vggish": network}, [], {})
    return folder


def carry_out(command: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """A command that succeeds; its metrics."""
    assert main(command.split()) == Exit.DONE
    metrics: dict[str, Any] = json.loads(capsys.readouterr().out)
    return metrics


def test_from_recordings_to_a_model_that_tags(
    folder: Path,
    ray_cluster: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tables: Callable[[str], dict[str, list[dict[str, Any]]]],
) -> None:
    monkeypatch.chdir(folder)
    work = "--work work"
    metrics = carry_out(f"prepare clips.csv {work} --no-balance --copies 1", capsys)
    assert (metrics["n_clips"], metrics["n_takes"], metrics["failures"]) == (27, 54, {})
    metrics = carry_out(
        f"finetune {work} --name x --split fold-1-first {NETWORK} {TRAINING}", capsys
    )
    record = metrics["extractors/x"]
    assert record["spec"]["vggish"] == {"conv_widths": [2, 2, 4, 4], "hidden": 8} | {
        "embedding_activation": "relu"
    }
    wanted = {"epochs": 2, "weight_decay": 0.01, "one_cycle": True, "average": 0.9, "seed": 3}
    assert record["spec"]["training"].items() >= (wanted | {"bfloat16": True}).items()
    assert main(f"fit {work} --extractors x --name F".split()) == Exit.COMMAND
    assert "run embed" in capsys.readouterr().err
    assert carry_out(f"embed {work} --extractors x", capsys)["n_segments"] > 0
    metrics = carry_out(
        f"fit {work} --extractors x --name F --segments 2 --levels 1 3 --hidden 6 --epochs 1 "
        "--patience 0 --mixup 0.2",
        capsys,
    )
    record = metrics["heads/F/x"]
    assert record["spec"]["wanted"]["network"].items() >= {"n_segments": 2, "hidden": 6}.items()
    assert record["spec"]["wanted"]["training"]["patience"] is None
    metrics = carry_out(
        f"evaluate {work} --name mine --members F:x --publish mine --float16", capsys
    )
    assert metrics["all"]["n_clips"] == 9  # fold 1
    card = read_model(folder / "mine").card
    assert [label.name for label in card.labels] == ["class0", "class1", "class2"]
    out = str(folder / "tables")
    command = ["tag", str(folder), "--out", out, "--model", str(folder / "mine"), "--cpus", "2"]
    capsys.readouterr()
    assert main(command) == Exit.DONE
    found = tables(out)
    assert {row["model_id"] for row in found["clips"]} == {card.model_id}
    assert len(found["clips"]) == 27


@pytest.mark.parametrize(
    ("command", "mended"),
    [
        ("prepare nowhere --work w", "nowhere"),
        ("finetune --work w --name x --split all", "run prepare first"),
        ("embed --work w --extractors x", "run prepare first"),
        (
            "fit --work w --extractors x --name B --kind lstm --segments 6",
            "--segments is for attention",
        ),
        ("fit --work w --extractors x --name F", "run prepare first"),
        ("fit --work w --extractors x --name B --kind lstm --mixup 0.2", "mixed"),
        ("fit --work w --extractors x --name F --levels 4", "--levels must"),
        ("fit --work w --extractors x --name F --batch-size 0", "--batch-size must"),
        ("evaluate --work w --name e --members F", "HEAD:EXTRACTOR"),
        ("reproduce data --work w --setting huge", "reduced"),
        ("reproduce data --work w --rows 9-Z", "3-F"),
        ("reproduce data --work w --rows bundled", "bundle makes"),
        ("bundle data --work w --publish s3://b/m", "local folder"),
        ("bundle data --work w", "--publish is required"),
        ("finetune --work w --name x --split all --workers 0", "--workers"),
        ("finetune --work w --name ../x --split all", "letters"),
        ("finetune --work w --name x --split all --copies -1", "--copies"),
        ("finetune --work w --name x --split all --hidden 0", "--hidden must be"),
        ("finetune --work w --name x --split all --network baseline --hidden 8", "VGGish"),
        ("finetune --work w --name x --split all --network baseline --normalise", "VGGish"),
        ("finetune --work w --name x --split all --start s3://me:secret@b/m", "credentials"),
        ("reproduce data --work w --start nowhere", "nowhere"),
        ("fit --work w --extractors x --name classifier", "own head"),
        ("fit --work w --extractors x --name B --kind lstm --hidden 0", "--hidden must be"),
        ("evaluate --work w --name e --members F:x --publish s3://b/m", "local folder"),
    ],
)
def test_what_cannot_be_carried_out_is_told_in_one_line(
    command: str,
    mended: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == Exit.COMMAND
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert mended in said.err
    assert list(tmp_path.iterdir()) == []
