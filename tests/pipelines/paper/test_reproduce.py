"""A tiny FSDKaggle2018, in both layouts, through the whole chain; then each verb upon the result.

Two runs of Ray Train are all: one for the extractors, one for the heads.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.cli.main import Exit, main
from pipelines.paper import reproduce
from pipelines.paper.jobs import ReproduceJob
from pipelines.paper.recipes import ALL_FOUR, ROWS
from pipelines.paper.settings import Setting
from pipelines.runtime.limits import TrainResources
from pipelines.storage.store import open_store
from pipelines.training import evaluate
from pipelines.training.jobs import EvaluateJob, PrepareJob, PublishJob
from pipelines.training.scores import score
from pipelines.training.workfolder.patches import Prepared, open_prepared
from pipelines.training.workfolder.shards import read_table
from tagger import checkpoint
from tagger.card import read_model
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.ensemble import at_temperature
from tagger.errors import CommandError, OptionError
from tagger.tagging import Tagger
from tagger.vggish import VGGish, initialise
from tests.support.small_data import prepare_here, shards, write_fsdkaggle2018

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

TINY = Setting(
    extractor=TrainingConfig(
        epochs=2,
        patience=2,
        batches="balanced",
        batch_size=41,
        weight_decay=0.01,
        one_cycle=True,
        average=0.9,
        bfloat16=True,
    ),
    head=TrainingConfig(epochs=2, patience=2, batch_size=64),
    hidden=8,
)
CHOSEN = ("2-balanced-first", "2-all", "3-B", "3-F")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fsdkaggle2018(tmp_path_factory.mktemp("zenodo"), "zenodo")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extractor to start from, as ``weights`` leaves it."""
    folder = tmp_path_factory.mktemp("start") / "vggish"
    network = VGGish(VGGishConfig((2, 2, 4, 4), 8))
    initialise(network)
    checkpoint.save(folder, "vggish", [], {"vggish": network}, [], {})
    return folder


@pytest.fixture(scope="module")
def job(
    data: Path, start: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: str
) -> ReproduceJob:
    job = ReproduceJob(
        data=str(data),
        work=str(tmp_path_factory.mktemp("work")),
        rows=CHOSEN,
        setting="tiny",
        start=str(start),
        seed=3,
        resources=TrainResources(workers=2),
    )
    reproduce.run(job, ["reproduce"], {"tiny": TINY})
    return job


@pytest.fixture(scope="module")
def prepared(job: ReproduceJob) -> Prepared:
    return open_prepared(open_store(job.work))


def test_the_report_has_every_row_beside_the_paper(job, prepared):
    report = prepared.store.read("report/report.md").decode()
    for key, paper in (("2-all", "0.903"), ("3-B", "0.914"), ("3-F", "0.936")):
        (line,) = [line for line in report.splitlines() if line.startswith(f"| {key} |")]
        assert paper in line
        assert f"--rows {key}" in report
    assert "MAP@3 Public | MAP@3 Private" in report
    assert "| vggish | 4 | 2.0 | " in report
    assert "| head B | 4 | 2.0 | " in report
    figures = json.loads(prepared.store.read("report/report.json"))
    assert figures["3-F"]["first"]["usages"]["Public"]["n_clips"] == 3
    assert figures["3-F"]["first"]["all"]["n_clips"] == 6
    assert prepared.store.read("report/curves.png").startswith(b"\x89PNG")
    assert prepared.store.read("evaluations/3-F/confusion.png").startswith(b"\x89PNG")


def test_copies_raise_every_class_and_stay_out_of_validation(prepared):
    assert prepared.dataset.layout == "fsdkaggle2018"
    copies = [
        row["label"] for table in shards(prepared) for row in table.to_pylist() if row["copy"]
    ]
    assert len(copies) == len(set(copies)) == 40  # all but the first class, which has one more
    assert len(prepared.failures()) == 0  # the empty clips are ignored ones


def test_a_second_run_trains_nothing_and_keeps_the_other_rows_in_the_report(job, prepared):
    before = prepared.store.list("heads") + prepared.store.list("extractors")
    stamps = [Path(job.work, path).stat().st_mtime_ns for path in before]
    report = prepared.store.read("report/report.json")
    reproduce.run(replace(job, rows=("3-F",)), ["reproduce"], {"tiny": TINY})
    assert prepared.store.read("report/report.json") == report
    assert prepared.store.list("heads") + prepared.store.list("extractors") == before
    assert [Path(job.work, path).stat().st_mtime_ns for path in before] == stamps


def test_every_run_leaves_a_record(prepared):
    records = [json.loads(prepared.store.read(path)) for path in prepared.store.list("_runs")]
    assert {record["verb"] for record in records} >= {
        "prepare",
        "finetune",
        "embed",
        "fit",
        "evaluate",
        "reproduce",
    }
    for record in records:
        assert record["state"] == "complete"
        assert record["command"] == ["reproduce"]
        assert record["fingerprint"] == prepared.dataset.fingerprint()
        assert record["versions"]["torch"]
        assert record["config"]["work"]


def test_the_published_ensemble_tags_as_it_was_evaluated(prepared, data, tmp_path):
    members = tuple(("F", name) for name in ALL_FOUR)
    publish = PublishJob(folder=str(tmp_path / "model"), name="tiny", command=("x",))
    job = EvaluateJob(work=prepared.store.root, name="published", members=members, publish=publish)
    evaluate.run(job, ["evaluate"])
    tagger = Tagger.load(tmp_path / "model")
    assert len(tagger.card.members) == 4
    assert tagger.card.about["metrics"]["all"]["n_clips"] == 6
    (scored,) = score(prepared, members)
    clips = prepared.dataset.clips.iloc[scored.clips]
    calibrated = at_temperature(scored.ensemble, tagger.card.temperature, "one")
    for name, expected in zip(clips["name"], calibrated, strict=True):
        audio = data / "FSDKaggle2018.audio_test" / name
        result = tagger.tag(audio, top_k=41, threshold=0.0)
        scores = {tag.tag: tag.score for tag in result.tags}
        found = [scores[label] for label in prepared.dataset.labels.names]
        np.testing.assert_allclose(found, expected, atol=1e-3)  # patches were float16


def test_what_cannot_be_published_or_measured_is_refused(prepared, tmp_path):
    publish = PublishJob(folder=str(tmp_path / "model"), name="tiny")
    for head, text in (
        ("B", "only attention heads"),
        ("classifier", "only attention heads"),
        ("Z", "run fit"),
    ):
        members = ((head, "balanced-first"),)
        given = EvaluateJob(work=prepared.store.root, name="no", members=members, publish=publish)
        with pytest.raises(CommandError, match=text):
            evaluate.run(given, [])
    with pytest.raises(CommandError, match="members must name"):
        EvaluateJob(work=prepared.store.root, name="no", members=())


def test_kaggle_s_layout_prepares_the_same(prepared, tmp_path):
    data = write_fsdkaggle2018(tmp_path / "kaggle", "kaggle")
    other = prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work"), seed=3))
    assert other.info == prepared.info
    for mine, theirs in zip(shards(other), shards(prepared), strict=True):
        assert mine.equals(theirs)


def test_each_verb_finds_what_reproduce_made_and_its_model_tags(
    job: ReproduceJob,
    prepared: Prepared,
    data: Path,
    start: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A flag that meant something else than the job's field would be told as another setting."""
    store, work = prepared.store, ("--work", job.work)

    def carry_out(verb: str, *flags: str) -> dict[str, Any]:
        assert main([verb, *flags]) == Exit.DONE, capsys.readouterr().err
        metrics: dict[str, Any] = json.loads(capsys.readouterr().out)
        return metrics

    metrics = carry_out("prepare", str(data), *work, "--seed", "3")
    assert (metrics["n_shards_made"], metrics["n_clips"], metrics["failures"]) == (0, 130, {})
    found = carry_out(
        *("finetune", *work, "--name", "balanced-last", "--split", "last-105", "--seed", "3"),
        *("--start", str(start), "--epochs", "2", "--patience", "2", "--learning-rate", "1e-3"),
        *("--weight-decay", "0.01", "--one-cycle", "--average", "0.9", "--bfloat16"),
    )["extractors/balanced-last"]
    assert found["spec"]["vggish"]["conv_widths"] == [2, 2, 4, 4]

    removed = [
        path for path in store.list("embeddings/balanced-last") if path.endswith("00000.parquet")
    ]
    before = [read_table(store, path) for path in removed]
    store.remove(removed)
    fit = (
        *("fit", *work, "--extractors", "balanced-last", "--name", "F", "--hidden", "8"),
        *("--copies", "1000000", "--mixup", "0.2", "--epochs", "2", "--patience", "2"),
        *("--batch-size", "64", "--seed", "3", "--tensorboard"),
    )
    assert main([*fit]) == Exit.COMMAND
    assert "run embed" in capsys.readouterr().err
    on_ray = ("embed", *work, "--extractors", "balanced-last", "--cpus", "1")
    assert carry_out(*on_ray)["n_segments"] > 0
    for path, here in zip(removed, before, strict=True):
        there = read_table(store, path)
        assert there.drop(["embedding"]).equals(here.drop(["embedding"]))
        np.testing.assert_allclose(
            np.stack(there["embedding"].to_numpy(zero_copy_only=False)),
            np.stack(here["embedding"].to_numpy(zero_copy_only=False)),
            atol=1e-5,
        )
    assert carry_out(*fit).keys() == {"heads/F/balanced-last"}
    assert len(store.list("tensorboard/heads/F/balanced-last")) == 1

    model = tmp_path / "mine"
    metrics = carry_out(
        *("evaluate", *work, "--name", "mine", "--members", "F:balanced-last", "F:balanced-first"),
        *("--publish", str(model), "--float16"),
    )
    assert metrics["all"]["n_clips"] == 6
    out, audio = tmp_path / "tables", data / "FSDKaggle2018.audio_test"
    tag = ["tag", str(audio), "--out", str(out), "--model", str(model), "--max-failed", "0.5"]
    assert main(tag) == Exit.DONE
    capsys.readouterr()
    assert main(["status", str(out), "--verify", "--json"]) == Exit.DONE
    (of_model,) = json.loads(capsys.readouterr().out)["models"]
    assert of_model["model_id"] == read_model(model).card.model_id
    assert (of_model["n_tagged"], of_model["open_failures"]) == (6, {"empty": 3})


def test_rows_can_be_chosen() -> None:
    job = ReproduceJob(data="d", work="w", rows=("3-F", "2-all"))
    assert [row.key for row in reproduce.chosen_rows(job)] == ["3-F", "2-all"]
    everything = reproduce.chosen_rows(ReproduceJob(data="d", work="w"))
    assert {row.key for row in ROWS} - {row.key for row in everything} == {"2-original"}
    with_weights = reproduce.chosen_rows(ReproduceJob(data="d", work="w", start="vggish"))
    assert len(with_weights) == len(ROWS)


def test_impossible_rows_are_refused() -> None:
    for rows, text in ((("9-Z",), "has no 9-Z"), (("2-original",), "start must name")):
        with pytest.raises(OptionError, match=text):
            reproduce.chosen_rows(ReproduceJob(data="d", work="w", rows=rows))
    with pytest.raises(OptionError, match="the command bundle"):
        ReproduceJob(data="d", work="w", rows=("bundled",))
    with pytest.raises(OptionError, match="one of paper, reduced"):
        reproduce.run(ReproduceJob(data="d", work="w", setting="huge"), [])
