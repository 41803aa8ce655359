"""A worker's loop on plain processes: what it reads, and that nothing it suffers shows."""

import json
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pipelines.storage.store import open_store
from pipelines.training import prepare
from pipelines.training.finetune import ExtractorTask
from pipelines.training.fit import HeadTask
from pipelines.training.jobs import PrepareJob
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.train_worker import (
    REFUSAL,
    Place,
    Work,
    is_done,
    train_all,
)
from pipelines.training.workfolder import extractors, networks
from pipelines.training.workfolder.patches import Prepared
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tests.support.gloo import FolderCheckpoints, train_on_gloo
from tests.support.small_data import (
    CountingStore,
    embed_here,
    prepare_here,
    train_here,
    write_folds,
)

TRAINING = TrainingConfig(
    epochs=4, patience=3, batches="balanced", learning_rate=1e-3, mixup=0.2, average=0.9
)
SPEC = ExtractorSpec(
    name="x",
    split="fold-1-first",
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    training=TRAINING,
    copies=1,
)
DIVERGING = replace(TRAINING, epochs=1, patience=None, learning_rate=1e30)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """27 clips and as many copies, in several shards."""
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "TAKES_PER_SHARD", 16)
        made = prepare_here(PrepareJob(data=str(data), work=str(top / "work"), copies=1))
    assert made.n_shards == 4
    return made


def n_reads(store: CountingStore, folder: str) -> Counter[int]:
    """How many of a folder's files were read how often."""
    return Counter(n for path, n in store.n_reads.items() if path.startswith(folder))


def test_a_worker_reads_each_shard_once_for_all_its_networks(prepared):
    """Extractors of different splits, one of them with copies, and the baseline; then heads."""
    store = CountingStore(prepared.store.root)
    config = TrainingConfig(epochs=1, patience=None, batches="balanced")
    specs = [replace(SPEC, name=f"read-{fold}", split=f"fold-{fold}-last") for fold in (1, 2)]
    specs.append(ExtractorSpec(name="read-baseline", split="fold-1", network="baseline"))
    tasks = [ExtractorTask(replace(spec, training=config)) for spec in specs]
    train_here(tasks, store)
    assert all(is_done(task, store) for task in tasks)
    assert n_reads(store, "patches") == {1: prepared.n_shards}

    names = ("read-1", "read-2")
    for name in names:
        embed_here(prepared, name, copies=1)
    store.n_reads.clear()
    heads = [
        HeadSpec(name="read-B", network=LSTMConfig(4), training=replace(config, batch_size=9)),
        HeadSpec(name="read-F", network=AttentionConfig(2, hidden=6), training=config, copies=1),
    ]
    splits = dict(zip(names, ("fold-1-last", "fold-2-last"), strict=True))
    train_here(
        [
            HeadTask(head, name, splits[name], extractors.weights_id(store, name))
            for name in names
            for head in heads
        ],
        store,
    )
    assert n_reads(store, "embeddings") == {1: 2 * prepared.n_shards}
    assert not n_reads(store, "patches")


class StoppedError(Exception):
    pass


@dataclass(frozen=True)
class StoppedCheckpoints(FolderCheckpoints):
    """The worker is stopped after it has saved so many times."""

    n_saves: list[int] | None = None

    def save(self, states):
        super().save(states)
        self.n_saves[0] -= 1
        if self.n_saves[0] == 0:
            raise StoppedError


def test_a_worker_that_goes_on_ends_exactly_as_one_that_never_stopped(prepared, tmp_path):
    """To the last bit: of three networks the second is at its third epoch when all stops."""
    ends = []
    told: Counter[str] = Counter()
    for name in ("whole", "stopped"):
        store = open_store(prepared.store.root)
        tasks = tuple(
            ExtractorTask(replace(SPEC, name=f"{name}-{i}", normalise=i == 1)) for i in range(3)
        )
        work = Work(tasks, store, together=False, checkpoint_s=0)
        if name == "stopped":
            checkpoints = StoppedCheckpoints(tmp_path, n_saves=[7])
            with pytest.raises(StoppedError):
                train_all(work, Place(), checkpoints, lambda *told: None)
            done = [is_done(task, store) for task in tasks]
            assert done == [True, False, False]
        told.clear()
        checkpoints = FolderCheckpoints(tmp_path)
        train_all(work, Place(), checkpoints, lambda network, *rest: told.update([network]))
        ends.append([_end(store, task) for task in tasks])
    assert told == {tasks[1].folder: 1, tasks[2].folder: 4}
    for (whole, weights), (stopped, its_weights) in zip(*ends, strict=True):
        assert [epoch[:-1] for epoch in whole] == [epoch[:-1] for epoch in stopped]
        assert all(torch.equal(weights[name], its_weights[name]) for name in weights)


def _end(store, task):
    """The course of a finished network, an epoch's seconds last, and its weights."""
    history = networks.read_record(store, task.folder)["history"]
    network = extractors.build(task.wanted, 3)
    networks.load_weights(store, task.folder, network)
    return [tuple(epoch.values()) for epoch in history], network.state_dict()


def test_two_workers_train_together_as_one_and_apart_their_parts(prepared, tmp_path):
    """Tolerance: 1e-4 of each loss; sums of gradients in another order are all that differs."""
    store = prepared.store
    alone = ExtractorTask(replace(SPEC, name="alone"))
    train_here([alone], store)
    refused = ExtractorTask(replace(SPEC, name="diverges", training=DIVERGING))
    both = ExtractorTask(replace(SPEC, name="both"))
    parts = tuple(ExtractorTask(replace(SPEC, name=f"part-{i}")) for i in range(3))
    together = Work((refused, both), store, together=True, checkpoint_s=0)
    apart = Work(parts, store, together=False, checkpoint_s=0)
    train_on_gloo([together, apart], 2, tmp_path)

    expected = losses(networks.read_record(store, alone.folder))
    found = networks.read_record(store, both.folder)
    np.testing.assert_allclose(losses(found), expected, rtol=1e-4)
    for part in parts:
        np.testing.assert_allclose(
            losses(networks.read_record(store, part.folder)), expected, rtol=1e-6
        )
    told = [Counter((tmp_path / f"told-1-{rank}").read_text().split()) for rank in (0, 1)]
    assert told == [{parts[0].folder: 4, parts[2].folder: 4}, {parts[1].folder: 4}]
    assert store.list(refused.folder) == [f"{refused.folder}/{REFUSAL}"]
    assert b"lower the learning rate" in store.read(f"{refused.folder}/{REFUSAL}")


def losses(record):
    return [(epoch["train_loss"], epoch["validation_loss"]) for epoch in record["history"]]


def test_a_network_that_cannot_be_trained_does_not_keep_others_from_it(prepared):
    store = prepared.store
    nothing = replace(SPEC, name="nothing", split="fold-9")
    diverges = replace(SPEC, name="runs-away", training=DIVERGING)
    fine = replace(SPEC, name="fine")
    train_here([ExtractorTask(spec) for spec in (nothing, diverges, fine)], store)
    assert b"no fold 9" in store.read(f"extractors/nothing/{REFUSAL}")
    assert b"lower the learning rate" in store.read(f"extractors/runs-away/{REFUSAL}")
    assert is_done(ExtractorTask(fine), store)


def test_a_name_stands_for_one_setting(prepared):
    task = ExtractorTask(replace(SPEC, name="taken"))
    train_here([task], prepared.store)
    assert is_done(task, prepared.store)
    with pytest.raises(CommandError, match="another name"):
        is_done(ExtractorTask(replace(task.wanted, copies=0)), prepared.store)


def test_a_record_of_an_earlier_version_is_known_again(prepared):
    """It lacks the settings that were added since."""
    task = ExtractorTask(replace(SPEC, name="earlier"))
    train_here([task], prepared.store)
    path = f"{task.folder}/{networks.RECORD}"
    record = json.loads(prepared.store.read(path))
    del record["spec"]["training"]["steps_per_epoch"]
    prepared.store.write(path, json.dumps(record).encode())
    assert is_done(task, prepared.store)
    by_steps = replace(task.wanted, training=replace(TRAINING, steps_per_epoch=5))
    with pytest.raises(CommandError, match="another name"):
        is_done(ExtractorTask(by_steps), prepared.store)


def test_the_record_tells_how_the_training_went(prepared):
    task = ExtractorTask(replace(SPEC, name="told"))
    told = train_here([task], prepared.store)
    record = networks.read_record(prepared.store, task.folder)
    assert record["spec"] == task.spec()
    assert [epoch["train_loss"] for epoch in record["history"]] == [
        epoch.train_loss for epoch in told[task.folder]
    ]
    assert record["best_epoch"] in range(1, 5)
    assert record["n_steps"] == 3 * 2 * len(record["history"])
