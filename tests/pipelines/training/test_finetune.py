"""Extractors on Ray Train: as one worker alone, after killed workers, after a killed job."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.storage.store import Store, open_store
from pipelines.training import finetune
from pipelines.training.finetune import ExtractorTask, load_extractor, read_spec
from pipelines.training.jobs import ExtractorSpec, FinetuneJob, PrepareJob, TrainResources
from pipelines.training.ray_train import slug, train
from pipelines.training.workfolder.patches import Prepared, open_prepared
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.training import Group, Trainer
from tagger.vggish import VGGishClassifier
from tests.support.small_data import prepare_here, write_folds
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
REPOSITORY = Path(__file__).parents[3]

TRAINING = TrainingConfig(
    epochs=6, patience=5, batches="balanced", learning_rate=1e-3, mixup=0.2, average=0.9
)
SPEC = ExtractorSpec(
    name="x",
    split="fold-1-first",
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    training=TRAINING,
    copies=1,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    return prepare_here(PrepareJob(data=str(data), work=str(top / "work"), copies=1))


def trained_here(spec: ExtractorSpec, prepared: Prepared) -> Trainer:
    """Trained in this process, as by a worker that nobody disturbs: on one thread."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = ExtractorTask(spec).trainer(prepared.store, Group(), "cpu")
        while not trainer.finished:
            trainer.epoch()
    finally:
        torch.set_num_threads(n_threads)
    return trainer


def losses(record: dict[str, object]) -> list[tuple[float, float]]:
    return [(epoch["train_loss"], epoch["validation_loss"]) for epoch in record["history"]]


@dataclass(frozen=True)
class SuicidalTask(ExtractorTask):
    """Kills its worker process, once, when the second worker begins its fourth epoch."""

    marker: Path

    def trainer(self, store: Store, group: Group, device: str) -> Trainer:
        trainer = super().trainer(store, group, device)
        proper = trainer.epoch

        def epoch() -> object:
            if len(trainer.history) == 3 and group.rank == 1 and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return proper()

        trainer.epoch = epoch
        return trainer


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(400)
def test_two_workers_train_as_one_even_if_one_is_killed(prepared, tmp_path, ray_cluster):
    """Tolerance: 1e-4 of each loss; sums of gradients in another order are all that differs.

    A network that cannot be trained as asked is told once, and the other one is trained.
    """
    diverging = replace(TRAINING, epochs=1, patience=None, learning_rate=1e30)
    diverges = replace(SPEC, name="diverges", training=diverging)
    spec = replace(SPEC, name="together")
    alone = trained_here(spec, prepared)
    task = SuicidalTask(spec, tmp_path / "killed")
    resources = TrainResources(workers=2, together=True, checkpoint_s=0)
    with pytest.raises(CommandError, match=r"^extractors/diverges: .*lower the learning rate$"):
        train([ExtractorTask(diverges), task], prepared.store, resources)
    assert prepared.store.list("extractors/diverges") == []
    assert task.marker.exists()
    record = json.loads(prepared.store.read("extractors/together/record.json"))
    expected = [(epoch.train_loss, epoch.validation_loss) for epoch in alone.history]
    np.testing.assert_allclose(losses(record), expected, rtol=1e-4)
    assert record["best_epoch"] == alone.best_epoch


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(500)
def test_a_killed_job_goes_on_from_its_last_checkpoint(prepared, ray_cluster):
    """Tolerance: 1e-5 of each loss."""
    config = replace(TRAINING, epochs=8, patience=None)
    spec = replace(SPEC, name="resumed", split="all", training=config, normalise=True)
    alone = trained_here(spec, prepared)
    killed = _killed_after_a_checkpoint(spec, prepared.store)
    assert prepared.store.list("extractors/another")
    another = replace(spec, name="another", training=replace(config, epochs=1))
    job = FinetuneJob(
        work=prepared.store.root,
        extractors=(another, spec),
        resources=TrainResources(workers=1, checkpoint_s=0),
    )
    record = finetune.run(job, ["finetune"]).metrics["extractors/resumed"]
    done = killed["history"]
    assert 0 < len(done) < 8
    assert [e["seconds"] for e in record["history"][: len(done)]] == [e["seconds"] for e in done]
    np.testing.assert_allclose(
        [epoch["train_loss"] for epoch in record["history"]],
        [epoch.train_loss for epoch in alone.history],
        rtol=1e-5,
    )
    expected = ExtractorTask(spec).result(alone.weights())
    n_classes = len(prepared.dataset.labels)
    _, network = load_extractor(prepared.store, "resumed", n_classes)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    assert isinstance(network, VGGishClassifier)
    assert read_spec(prepared.store, "resumed") == spec
    again = finetune.run(job, ["finetune"])  # nothing is left to do
    assert again.metrics["extractors/resumed"] == record


def _killed_after_a_checkpoint(spec: ExtractorSpec, store: Store) -> dict[str, object]:
    """Run the job in a process of its own, kill it when its first network is done.

    Returns the state of the second in its last checkpoint.
    """
    code = (
        "import json, sys\n"
        "from pipelines.training import finetune\n"
        "from pipelines.training.jobs import FinetuneJob, TrainResources\n"
        "from tests.pipelines.training.test_finetune import SPEC, TRAINING\n"
        "from dataclasses import replace\n"
        "config = replace(TRAINING, epochs=8, patience=None)\n"
        "spec = replace(SPEC, name='resumed', split='all', training=config, normalise=True)\n"
        "other = replace(spec, name='another', training=replace(config, epochs=1))\n"
        "finetune.run(FinetuneJob(work=sys.argv[1], extractors=(other, spec),\n"
        "    resources=TrainResources(workers=1, checkpoint_s=0)), [])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    job = subprocess.Popen(
        [sys.executable, "-c", code, store.root],
        cwd=REPOSITORY,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not (found := _checkpoints(store, ExtractorTask(spec))):
            assert job.poll() is None, job.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        job.stderr.close()
    time.sleep(2)  # the workers notice that their job is gone
    (latest,) = _checkpoints(store, ExtractorTask(spec))[-1:] or found[-1:]
    return torch.load(latest, weights_only=True)


def _checkpoints(store: Store, task: ExtractorTask) -> list[Path]:
    """States of a task in whole checkpoints, oldest first."""
    snapshots = Path(store.root, "_train").glob("*/checkpoint_manager_snapshot.json")
    found = []
    for snapshot in snapshots:
        known = json.loads(snapshot.read_text())["checkpoint_results"]
        names = [result["checkpoint_dir_name"] for result in known]
        found += [path for name in names for path in snapshot.parent.glob(f"{name}/{slug(task)}")]
    return found


def test_early_stopping_without_validation_clips_is_refused(prepared):
    spec = replace(SPEC, split="fold-1")
    with pytest.raises(CommandError, match="no validation clips"):
        finetune.run(FinetuneJob(work=prepared.store.root, extractors=(spec,)), [])


def test_a_name_stands_for_one_setting(prepared):
    folder = "extractors/taken"
    task = ExtractorTask(replace(SPEC, name="taken"))
    record = {"spec": task.spec() | {"copies": 7}}
    prepared.store.write(f"{folder}/record.json", json.dumps(record).encode())
    with pytest.raises(CommandError, match="another name"):
        train([task], prepared.store, TrainResources())


def test_an_extractor_of_another_shape_than_its_start_is_refused(prepared, tiny_model):
    spec = replace(SPEC, start=str(tiny_model), vggish=VGGishConfig((1, 1, 1, 1), 1))
    with pytest.raises(CommandError, match="was asked for"):
        finetune.run(FinetuneJob(work=prepared.store.root, extractors=(spec,)), [])


def test_other_weights_under_the_same_path_are_other_settings(tmp_path):
    specs = []
    for seed in range(2):
        shutil.rmtree(tmp_path / "start", ignore_errors=True)
        save_tiny_model(tmp_path / "start", seed=seed)
        finetune._model_id.cache_clear()  # as in another process
        specs.append(ExtractorTask(replace(SPEC, start=str(tmp_path / "start"))).spec())
    assert specs[0]["start"] == specs[1]["start"]
    assert specs[0] != specs[1]


@pytest.mark.ray
def test_more_workers_than_the_machine_has_are_refused(prepared, ray_cluster):
    with pytest.raises(CommandError, match="--workers 99"):
        train([ExtractorTask(SPEC)], prepared.store, TrainResources(workers=99))


def test_the_baseline_learns_from_windows_of_the_same_patches(prepared):
    spec = ExtractorSpec(
        name="b",
        split="fold-1",
        network="baseline",
        training=TrainingConfig(epochs=1, patience=None, batch_size=64),
    )
    trainer = ExtractorTask(spec).trainer(prepared.store, Group(), "cpu")
    # A second has 1 patch, 96 frames: 6 windows; 2.5 seconds have 2 patches: 14 windows.
    metrics = trainer.epoch()
    assert metrics.n_examples == 2 * 3 * (2 * 14 + 6)


def test_other_extractors_must_be_named_apart():
    with pytest.raises(CommandError, match="name of its own"):
        FinetuneJob(work="w", extractors=(SPEC, SPEC))


def test_prepared_data_is_found_again(prepared):
    assert open_prepared(open_store(prepared.store.root)).info == prepared.info


def test_a_class_whose_clips_all_failed_is_told(tmp_path):
    data = write_folds(tmp_path, n_folds=2)
    for clip in tmp_path.glob("*-2-*.wav"):
        clip.write_bytes(b"")
    broken = prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work")))
    with pytest.raises(CommandError, match="without clips to train on: class2"):
        spec = replace(SPEC, split="fold-1", training=replace(TRAINING, patience=None))
        finetune.run(FinetuneJob(work=broken.store.root, extractors=(spec,)), [])
