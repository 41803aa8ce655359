"""A tiny FSDKaggle2018, in both layouts, through the whole chain (issue: the paper's tables)."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.paper import bundled_model as bundle
from pipelines.paper import reproduce
from pipelines.paper.jobs import BundleJob, ReproduceJob
from pipelines.paper.recipes import ALL_FOUR, BUNDLED_EXTRACTOR, BUNDLED_HEAD, Bundled, Setting
from pipelines.runtime.limits import TrainResources
from pipelines.storage.store import open_store
from pipelines.training import embed, evaluate
from pipelines.training.finetune import ExtractorTask, weights_of
from pipelines.training.fit import HeadTask
from pipelines.training.jobs import (
    EmbedJob,
    EvaluateJob,
    PrepareJob,
    PublishJob,
)
from pipelines.training.scores import score
from pipelines.training.workfolder.patches import Prepared, open_prepared
from tagger.configs import AttentionConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.tagging import Tagger
from tests.support.small_data import (
    prepare_here,
    train_here,
    write_folds,
    write_fsdkaggle2018,
)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

TINY = Setting(
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    normalise=True,
    extractor=TrainingConfig(epochs=2, patience=2, batches="balanced", batch_size=41),
    head=TrainingConfig(epochs=2, patience=2, batch_size=64),
    hidden=8,
)
ROWS = ("2-balanced-first", "2-all", "3-B", "3-F")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fsdkaggle2018(tmp_path_factory.mktemp("zenodo"), "zenodo")


@pytest.fixture(scope="module")
def job(data: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: str) -> ReproduceJob:
    job = ReproduceJob(
        data=str(data),
        work=str(tmp_path_factory.mktemp("work")),
        rows=ROWS,
        setting="tiny",
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
    assert figures["3-F"]["usages"]["Public"]["n_clips"] == 3
    assert figures["3-F"]["all"]["n_clips"] == 6
    assert prepared.store.read("report/curves.png").startswith(b"\x89PNG")
    assert prepared.store.read("evaluations/3-F/confusion.png").startswith(b"\x89PNG")


def test_copies_raise_every_class_and_stay_out_of_validation(prepared):
    assert prepared.dataset.layout == "fsdkaggle2018"
    rows = [
        row for table in prepared.shards() for row in table.select(["label", "copy"]).to_pylist()
    ]
    copies = [row["label"] for row in rows if row["copy"]]
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
    for name, expected in zip(clips["name"], scored.ensemble, strict=True):
        result = tagger.tag(data / "FSDKaggle2018.audio_test" / name, top_k=41)
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
    with pytest.raises(CommandError, match="needs members"):
        EvaluateJob(work=prepared.store.root, name="no", members=())


def test_kaggle_s_layout_prepares_the_same(prepared, tmp_path):
    data = write_fsdkaggle2018(tmp_path / "kaggle", "kaggle")
    other = prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work")))
    assert other.info == prepared.info
    for mine, theirs in zip(other.shards(), prepared.shards(), strict=True):
        assert mine.equals(theirs)


def test_the_bundled_recipe_publishes_what_it_trained_on_everything(tmp_path, ray_cluster):
    """Its networks are trained beforehand, here, so that it finds them; the rest it does itself."""
    data = write_folds(tmp_path, n_folds=2)
    recipe = Bundled(
        folds=(1, 2),
        seeds=(0,),
        copies=1,
        head_copies=1,
        vggish=TINY.vggish,
        extractor=replace(BUNDLED_EXTRACTOR, epochs=1),
        network=AttentionConfig(2, hidden=8),
        head=replace(BUNDLED_HEAD, epochs=1),
    )
    job = BundleJob(data=str(data), work=str(tmp_path / "work"), publish=str(tmp_path / "model"))
    prepared = prepare_here(recipe.prepare(job.data, job.work))
    extractors, (head,) = recipe.extractors(), recipe.heads()
    train_here([ExtractorTask(spec) for spec in extractors], prepared.store)
    names = tuple(spec.name for spec in extractors)
    embed.run(EmbedJob(work=job.work, extractors=names, copies=1), [])
    train_here(
        [
            HeadTask(head, spec.name, spec.split, weights_of(prepared.store, spec.name))
            for spec in extractors
        ],
        prepared.store,
    )
    record = bundle.run(job, ["bundle"], recipe)
    assert record.metrics["all"]["n_clips"] == 18  # each clip by the networks of the other fold
    assert set(record.metrics["tests"]) == {"fold-1", "fold-2"}
    tagger = Tagger.load(tmp_path / "model")
    assert [member.extractor for member in tagger.card.members] == ["all-s0"]
    assert tagger.card.about["data"]["n_clips"] == 18
    assert "fixed beforehand" in tagger.card.about["notes"]["validation"]
