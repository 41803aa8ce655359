"""Several seeds a row, on three folds; the networks are trained in this process."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.paper import reproduce
from pipelines.paper.jobs import ReproduceJob
from pipelines.paper.recipes import UNBALANCED
from pipelines.paper.settings import Setting
from pipelines.storage.store import Store, open_store
from pipelines.training import finetune, fit
from pipelines.training.train_worker import Task
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.networks import read_record
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import OptionError
from tests.support.small_data import train_here, write_folds

TINY = Setting(
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    extractor=TrainingConfig(epochs=1, patience=1, batches="balanced"),
    head=TrainingConfig(epochs=2, patience=2, batch_size=8, steps_per_epoch=3),
    hidden=8,
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ReproduceJob:
    """One seed first, then a second one in the same folder."""
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    job = ReproduceJob(
        data=str(data), work=str(top / "work"), rows=("2-unbalanced", "3-C"), setting="tiny", seed=5
    )

    def train(tasks: Sequence[Task], store: Store, resources: object) -> dict[str, Any]:
        train_here(tasks, store)
        return {task.folder: read_record(store, task.folder) for task in tasks}

    with pytest.MonkeyPatch.context() as patch:
        for step in (finetune, fit):
            patch.setattr(step, "train", train)
        for n_seeds in (1, 2):
            reproduce.run(replace(job, n_seeds=n_seeds), ["reproduce"], {"tiny": TINY})
    return replace(job, n_seeds=2)


def test_extractors_and_heads_vary_with_the_seed(job):
    store = open_store(job.work)
    for name in UNBALANCED:
        first, second = (f"{name}-fold-1", f"{name}-fold-1-s6")
        assert extractors.read_spec(store, first).training.seed == 5
        assert extractors.read_spec(store, second).training.seed == 6
        assert extractors.weights_id(store, first) != extractors.weights_id(store, second)
        heads = [read_record(store, f"heads/C/{upon}") for upon in (first, second)]
        assert [head["spec"]["wanted"]["training"]["seed"] for head in heads] == [5, 6]
        assert [head["n_steps"] for head in heads] == [3 * len(head["history"]) for head in heads]


def test_the_report_tells_all_seeds(job):
    store = open_store(job.work)
    figures = json.loads(store.read("report/report.json"))
    assert list(figures["2-unbalanced"]) == ["first", "s6"]
    for found in figures["3-C"].values():
        assert found["all"]["n_clips"] == 27
        assert len(found["tests"]) == 3
    report = store.read("report/report.md").decode()
    assert "Networks of 2 seeds." in report
    assert "--seed 5 --seeds 2 --rows 2-unbalanced" in report
    assert "| head C | 24 | " in report  # four extractors, three folds, two seeds


def test_a_second_seed_leaves_the_first_as_it_was(job):
    records = [path for path in open_store(job.work).list("extractors") if "record" in path]
    first = [Path(job.work, path).stat().st_mtime for path in records if "-s6" not in path]
    second = [Path(job.work, path).stat().st_mtime for path in records if "-s6" in path]
    assert len(first) == len(second) == 12
    assert max(first) < min(second)


def test_there_is_one_seed_at_least():
    with pytest.raises(OptionError, match="greater than 0"):
        ReproduceJob(data="d", work="w", n_seeds=0)
