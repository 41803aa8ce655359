"""Extractors before their training: what is refused, and what a network begins as."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.storage.store import open_store
from pipelines.training import finetune, ray_train
from pipelines.training.finetune import ExtractorTask
from pipelines.training.jobs import FinetuneJob, PrepareJob
from pipelines.training.specs import ExtractorSpec
from pipelines.training.splits import parts
from pipelines.training.start_model import read_start_model
from pipelines.training.train_worker import REFUSAL
from pipelines.training.workfolder import extractors, networks
from pipelines.training.workfolder.patches import Prepared, load_patches
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger import checkpoint
from tagger.card import BUNDLED, read_model
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import CommandError, OptionError
from tagger.training import Group
from tagger.vggish import NormalisedClassifier, VGGish, VGGishClassifier
from tests.support.small_data import CountingStore, prepare_here, train_here, write_folds
from tests.support.tiny_model import save_tiny_model

TRAINING = TrainingConfig(epochs=2, patience=2, batches="balanced", learning_rate=1e-3)
SPEC = ExtractorSpec(
    name="x",
    split="fold-1-first",
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    training=TRAINING,
    copies=1,
)
TINY_VGGISH = VGGishConfig((2, 3, 4, 5), 8, "none")  # what ``save_tiny_model`` writes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    return prepare_here(PrepareJob(data=str(data), work=str(top / "work"), copies=1))


@pytest.fixture
def start(tmp_path: Path):
    """A model to start from."""
    yield save_tiny_model(tmp_path / "start")
    read_start_model.cache_clear()


def run(prepared: Prepared, *specs: ExtractorSpec) -> None:
    finetune.run(FinetuneJob(work=prepared.store.root, extractors=specs), [])


def run_here(prepared: Prepared, spec: ExtractorSpec) -> None:
    train_here([ExtractorTask.of(spec, prepared.store)], prepared.store)


def trainer(task: ExtractorTask, prepared: Prepared):
    reads = SharedReads(prepared, prepared.dataset.development(), task.copies)
    return task.trainer(reads, Group(), "cpu")


def test_early_stopping_without_validation_clips_is_refused(prepared):
    with pytest.raises(CommandError, match="needs validation clips"):
        run(prepared, replace(SPEC, split="fold-1"))


def test_a_class_whose_clips_all_failed_is_told(tmp_path):
    data = write_folds(tmp_path, n_folds=2)
    for clip in tmp_path.glob("*-2-*.wav"):
        clip.write_bytes(b"")
    broken = prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work")))
    spec = replace(SPEC, split="fold-1", training=replace(TRAINING, patience=None))
    with pytest.raises(CommandError, match="without clips to train on: class2"):
        run(broken, spec)


def test_an_extractor_of_another_shape_than_its_start_is_refused(prepared, start):
    with pytest.raises(CommandError, match="was asked for"):
        run(prepared, replace(SPEC, start=str(start), vggish=VGGishConfig((1, 1, 1, 1), 1)))


def test_extractors_must_be_named_apart():
    with pytest.raises(CommandError, match="name of its own"):
        FinetuneJob(work="w", extractors=(SPEC, SPEC))


def test_the_shape_of_what_training_starts_from(start):
    assert finetune.vggish_of("scratch") == VGGishConfig()
    assert finetune.vggish_of(str(start)) == TINY_VGGISH


def test_training_begins_with_the_weights_of_its_start(prepared, start):
    """They are read once; the classifier is drawn from the seed."""
    spec = replace(SPEC, start=str(start), vggish=TINY_VGGISH)
    task = ExtractorTask.of(spec, prepared.store)
    first = trainer(task, prepared).weights()
    shutil.rmtree(start)  # nothing of it is read again
    for name, tensor in read_start_model(str(start), None).extractor.state_dict().items():
        assert torch.equal(first[f"extractor.{name}"], tensor)
    again = trainer(task, prepared).weights()
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = replace(task, wanted=replace(spec, training=replace(TRAINING, seed=1)))
    name = "classifier.0.weight"
    assert not torch.equal(first[name], trainer(other, prepared).weights()[name])


def test_one_extractor_of_several_is_started_from_by_its_name(prepared, start):
    spec = replace(SPEC, start=str(start), start_extractor="b", vggish=TINY_VGGISH)
    first = trainer(ExtractorTask.of(spec, prepared.store), prepared).weights()
    theirs = checkpoint.build(read_model(start)).extractors
    for name, tensor in theirs["b"].state_dict().items():
        assert torch.equal(first[f"extractor.{name}"], tensor)
    assert not torch.equal(*(network.features[0].weight for network in theirs.values()))
    with pytest.raises(CommandError, match="one of a, b, not c"):
        run(prepared, replace(spec, start_extractor="c"))
    with pytest.raises(OptionError, match="a model to start from"):
        replace(SPEC, start_extractor="b")


def test_normalisation_leaves_what_it_goes_on_with_as_it_is(prepared, start):
    spec = replace(
        SPEC,
        name="n",
        start=str(start),
        vggish=TINY_VGGISH,
        normalise=True,
        training=replace(TRAINING, epochs=0),
    )
    run(prepared, spec)
    _, network = extractors.load(prepared.store, "n", 3)
    patches = torch.rand(5, 96, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.extractor(patches),
            read_start_model(str(start), None).extractor(patches),
            rtol=1e-3,
            atol=1e-4,
        )


def test_no_epochs_take_an_extractor_over_without_a_cluster(prepared, start, monkeypatch):
    """A split without validation clips suits, for there is nothing to stop early."""
    monkeypatch.setattr(ray_train, "connect", None)
    untrained = replace(TRAINING, epochs=0)
    spec = replace(
        SPEC, name="taken", split="fold-1", start=str(start), vggish=TINY_VGGISH, training=untrained
    )
    run(prepared, spec)
    _, network = extractors.load(prepared.store, "taken", 3)
    theirs = read_start_model(str(start), None).extractor.state_dict()
    assert all(torch.equal(network.extractor.state_dict()[name], theirs[name]) for name in theirs)
    assert networks.read_record(prepared.store, "extractors/taken")["n_steps"] == 0


def test_the_bundled_model_is_started_from_by_a_word():
    assert finetune.vggish_of("bundled") == finetune.vggish_of(str(BUNDLED))


def test_other_weights_under_the_same_path_are_other_settings(prepared, start):
    spec = replace(SPEC, start=str(start), vggish=TINY_VGGISH)
    before = ExtractorTask.of(spec, prepared.store)
    shutil.rmtree(start)
    save_tiny_model(start, seed=2)
    read_start_model.cache_clear()  # as in another process
    after = ExtractorTask.of(spec, prepared.store)
    assert before.spec()["start"] == after.spec()["start"]
    assert before.spec() != after.spec()


def test_an_extractor_learns_what_its_teachers_say(prepared):
    """It is closer to its teacher than one that learned from the labels alone."""
    patches = torch.rand(20, 96, 64)
    longer = replace(TRAINING, epochs=10, patience=None)
    teacher, taught = replace(SPEC, name="teacher"), replace(SPEC, name="taught", training=longer)
    run_here(prepared, teacher)
    run_here(prepared, replace(taught, teachers=("teacher",)))
    run_here(prepared, replace(taught, name="untaught"))
    with torch.inference_mode():
        said, with_it, without = (
            extractors.load(prepared.store, name, 3)[1](patches).softmax(-1)
            for name in ("teacher", "taught", "untaught")
        )
    assert (with_it - said).abs().mean() < 0.8 * (without - said).abs().mean()
    assert extractors.read_spec(prepared.store, "taught").teachers == ("teacher",)


def test_teachers_that_cannot_teach_are_told(prepared):
    run_here(prepared, replace(SPEC, name="other", split="fold-2-first"))
    with pytest.raises(OptionError, match="on the same split: other was on fold-2-first"):
        run(prepared, replace(SPEC, teachers=("other",)))
    with pytest.raises(CommandError, match="no extractor 'nobody'; run finetune first"):
        run(prepared, replace(SPEC, teachers=("nobody",)))
    untrained = replace(TRAINING, epochs=0, patience=None)
    run(prepared, replace(SPEC, name="kept", training=untrained))
    with pytest.raises(OptionError, match="must have been trained, and kept was kept as it was"):
        run(prepared, replace(SPEC, teachers=("kept",)))
    with pytest.raises(OptionError, match="nobody to teach"):
        replace(SPEC, teachers=("other",), training=untrained)
    with pytest.raises(OptionError, match="each be named once"):
        replace(SPEC, teachers=("other", "other"))


def test_other_weights_of_a_teacher_are_other_settings(prepared):
    """And what was trained before there were teachers had none."""
    run_here(prepared, replace(SPEC, name="a"))
    task = ExtractorTask.of(replace(SPEC, teachers=("a",)), prepared.store)
    assert task.was(task.spec())
    assert not replace(task, teachers=("00000000",)).was(task.spec())
    plain = ExtractorTask(SPEC)
    known = {"teachers", extractors.TEACHERS_WEIGHTS}
    assert plain.was({k: v for k, v in plain.spec().items() if k not in known})


def test_a_start_that_was_replaced_meanwhile_is_told(prepared, start):
    spec = replace(SPEC, name="late", start=str(start), vggish=TINY_VGGISH)
    task = ExtractorTask.of(spec, prepared.store)
    shutil.rmtree(start)
    save_tiny_model(start, seed=2)
    read_start_model.cache_clear()  # the worker's process
    train_here([task], prepared.store)
    assert b"when the job began" in prepared.store.read(f"{task.folder}/{REFUSAL}")


def test_from_scratch_the_first_layer_takes_the_data_s_scale(prepared):
    """The first layer's output has unit variance on the patches of the training clips."""
    network = extractors.build(SPEC, 3)
    network.load_state_dict(trainer(ExtractorTask(SPEC), prepared).weights())
    loaded = load_patches(prepared, parts(prepared.dataset, SPEC.split).train, copies=1)
    patches = torch.from_numpy(loaded.takes.values.astype(np.float32))
    with torch.inference_mode():
        spread = network.extractor.features[0](patches.unsqueeze(1)).std()
    assert spread == pytest.approx(1, abs=1e-3)


def test_normalisation_is_folded_into_what_is_kept(prepared):
    """What is written is Table 1, and gives the logits of the network that was trained."""
    task = ExtractorTask(replace(SPEC, name="normalised", normalise=True))
    train_here([task], prepared.store)
    _, network = extractors.load(prepared.store, "normalised", 3)
    assert isinstance(network, VGGishClassifier)
    assert extractors.read_spec(prepared.store, "normalised") == task.wanted
    found = trainer(task, prepared)
    while not found.finished:
        found.epoch()
    normalised = NormalisedClassifier(VGGishClassifier(VGGish(SPEC.vggish), 3)).eval()
    normalised.load_state_dict(found.weights())
    patches = torch.rand(5, 96, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(patches), normalised(patches), atol=1e-4, rtol=1e-3)


def test_shifted_patches_are_others(prepared):
    shifted = replace(SPEC, shift=True)
    losses = [trainer(ExtractorTask(spec), prepared).epoch().train_loss for spec in (SPEC, shifted)]
    assert losses[0] != losses[1]


def test_the_baseline_learns_from_windows_of_the_same_patches(prepared):
    spec = ExtractorSpec(
        name="b",
        split="fold-1",
        network="baseline",
        training=TrainingConfig(epochs=1, patience=None, batch_size=64),
    )
    # A second has 1 patch, 96 frames: 6 windows; 2.5 seconds have 2 patches: 14 windows.
    metrics = trainer(ExtractorTask(spec), prepared).epoch()
    assert metrics.n_examples == 2 * 3 * (2 * 14 + 6)


def test_failures_are_read_once_for_all_extractors(prepared, monkeypatch):
    """However many there are: none of them is trained, for one of them is refused."""
    store = CountingStore(prepared.store.root)
    monkeypatch.setattr(finetune, "open_store", lambda work: store)
    specs = [replace(SPEC, name=f"n{i}") for i in range(3)]
    with pytest.raises(CommandError, match="needs validation clips"):
        run(prepared, *specs, replace(SPEC, split="fold-1"))
    assert {n for path, n in store.n_reads.items() if path.startswith("failures")} == {1}
    assert open_store(prepared.store.root).list("extractors/n0") == []
