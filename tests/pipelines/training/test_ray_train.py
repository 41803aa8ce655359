"""Networks on Ray Train: after a killed job and a killed worker as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.runtime.limits import TrainResources
from pipelines.storage.store import Store, open_store
from pipelines.training.finetune import ExtractorTask
from pipelines.training.jobs import PrepareJob
from pipelines.training.ray_train import train
from pipelines.training.specs import ExtractorSpec
from pipelines.training.train_worker import state_file
from pipelines.training.workfolder.networks import read_record
from pipelines.training.workfolder.patches import Prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import CommandError, OptionError
from tagger.training import Group, Trainer
from tests.support.small_data import prepare_here, train_here, write_folds

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]
REPOSITORY = Path(__file__).parents[3]

SPEC = ExtractorSpec(
    name="x",
    split="fold-1-first",
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    training=TrainingConfig(
        epochs=12, patience=11, batches="balanced", learning_rate=1e-3, mixup=0.2, average=0.9
    ),
    copies=1,
)
DIES_AT = 9  # epochs, when the worker is killed
TOGETHER = TrainResources(workers=2, together=True, checkpoint_s=0)


def tasks_of() -> list[ExtractorTask]:
    """One that is soon finished, one that cannot be trained so, one that all kills hit."""
    short = replace(SPEC.training, epochs=1, patience=None)
    diverging = replace(short, learning_rate=1e30)
    return [
        ExtractorTask(replace(SPEC, name="finished", training=short)),
        ExtractorTask(replace(SPEC, name="diverges", training=diverging)),
        ExtractorTask(replace(SPEC, name="killed")),
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    return prepare_here(PrepareJob(data=str(data), work=str(top / "work"), copies=1))


@dataclass(frozen=True)
class SuicidalTask(ExtractorTask):
    """Kills its worker process, once, when the second worker has done some epochs."""

    marker: Path = Path()

    def trainer(self, reads: SharedReads, group: Group, device: str) -> Trainer:
        trainer = super().trainer(reads, group, device)
        proper = trainer.epoch

        def epoch() -> object:
            if len(trainer.history) == DIES_AT and group.rank == 1 and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return proper()

        trainer.epoch = epoch
        return trainer


@pytest.mark.faults
@pytest.mark.timeout(500)
def test_a_killed_job_and_a_killed_worker_change_nothing(prepared, tmp_path, ray_cluster):
    """Tolerance: 1e-4 of each loss; sums of gradients in another order are all that differs.

    The job is killed after a checkpoint. Started again, it keeps what was done, goes on from there,
    loses a worker, and tells in the end which network could not be trained.
    """
    store = prepared.store
    alone = ExtractorTask(replace(SPEC, name="alone"))
    train_here([alone], store)
    before = _killed_after_a_checkpoint(store, ray_cluster)
    finished = read_record(store, "extractors/finished")
    assert finished is not None
    assert 0 < len(before["history"]) < DIES_AT

    *others, last = tasks_of()
    task = SuicidalTask(last.wanted, marker=tmp_path / "killed")
    with pytest.raises(CommandError, match=r"^extractors/diverges: .*lower the learning rate$"):
        train([*others, task], store, TOGETHER)
    assert task.marker.exists()
    assert store.list("extractors/diverges") == []
    assert read_record(store, "extractors/finished") == finished

    record, expected = read_record(store, task.folder), read_record(store, alone.folder)
    kept = [epoch["seconds"] for epoch in record["history"]][: len(before["history"])]
    assert kept == [epoch["seconds"] for epoch in before["history"]]
    np.testing.assert_allclose(losses(record), losses(expected), rtol=1e-4)
    assert record["best_epoch"] == expected["best_epoch"]
    assert store.list("_train") == []
    assert train([others[0], last], store, TOGETHER)[task.folder] == record  # nothing is left to do


def losses(record: dict[str, object]) -> list[tuple[float, float]]:
    return [(epoch["train_loss"], epoch["validation_loss"]) for epoch in record["history"]]


def _killed_after_a_checkpoint(store: Store, address: str) -> dict[str, object]:
    """Run the job in a process of its own, kill it when its last network is in a checkpoint.

    Returns the network's state in its last checkpoint.
    """
    code = (
        "import sys\n"
        "from pipelines.storage.store import open_store\n"
        "from pipelines.training.ray_train import train\n"
        "from tests.pipelines.training.test_ray_train import TOGETHER, tasks_of\n"
        "train(tasks_of(), open_store(sys.argv[1]), TOGETHER)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "RAY_ADDRESS": address}
    job = subprocess.Popen(
        [sys.executable, "-c", code, store.root],
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not (found := _checkpoints(store, tasks_of()[-1])):
            assert job.poll() is None, job.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        job.stderr.close()
    time.sleep(2)  # the workers notice that their job is gone
    (latest,) = _checkpoints(store, tasks_of()[-1])[-1:] or found[-1:]
    return torch.load(latest, weights_only=True)


def _checkpoints(store: Store, task: ExtractorTask) -> list[Path]:
    """States of a task in whole checkpoints, oldest first."""
    snapshots = Path(store.root, "_train").glob("*/checkpoint_manager_snapshot.json")
    found = []
    for snapshot in snapshots:
        known = json.loads(snapshot.read_text())["checkpoint_results"]
        names = [result["checkpoint_dir_name"] for result in known]
        for name in names:
            found += snapshot.parent.glob(f"{name}/{state_file(task)}")
    return found


def test_more_workers_than_the_machine_has_are_refused(tmp_path, ray_cluster):
    with pytest.raises(OptionError, match="workers must be fewer: 99"):
        train(tasks_of(), open_store(str(tmp_path)), TrainResources(workers=99))
