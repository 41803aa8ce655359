"""Heads upon the embeddings of extractors; Ray's part is in test_reproduce."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.training import evaluate
from pipelines.training.embed import embedded, embedded_takes
from pipelines.training.finetune import ExtractorTask, weights_of
from pipelines.training.fit import HeadTask, load_head
from pipelines.training.jobs import (
    EvaluateJob,
    ExtractorSpec,
    HeadSpec,
    PrepareJob,
    PublishJob,
)
from pipelines.training.splits import parts
from pipelines.training.workfolder.patches import Prepared
from tagger.configs import AttentionConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.tagging import Tagger
from tagger.training import Group
from tests.support.small_data import embed_here, prepare_here, train_here, write_folds

ONE_EPOCH = TrainingConfig(epochs=1, patience=None, batches="balanced")
EXTRACTOR = ExtractorSpec(
    name="x",
    split="fold-1-first",
    vggish=VGGishConfig((2, 2, 4, 4), 8),
    training=ONE_EPOCH,
    copies=1,
)
HEAD = HeadSpec(
    name="h",
    network=AttentionConfig(2, hidden=6),
    training=replace(ONE_EPOCH, batches="examples"),
    copies=1,
)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    data = write_folds(tmp_path, n_folds=3)
    return prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work"), copies=1))


def trained(prepared: Prepared, extractor: ExtractorSpec = EXTRACTOR) -> HeadTask:
    """An extractor and a head upon it."""
    store, name = prepared.store, extractor.name
    train_here([ExtractorTask(extractor)], store)
    embed_here(prepared, name, 1)
    task = HeadTask(HEAD, name, extractor.split, weights_of(store, name))
    train_here([task], store)
    return task


def test_copies_are_trained_on_and_never_validated_on(prepared):
    head = trained(prepared)
    split = parts(prepared.dataset, EXTRACTOR.split)
    for task, read in (
        (ExtractorTask(EXTRACTOR), prepared.takes),
        (head, lambda clips, copies: embedded_takes(prepared, "x", clips, copies)),
    ):
        trainer = task.trainer(prepared.store, Group(), "cpu")
        taught, owners = read(split.train, 1)
        assert owners.tolist() == np.repeat(np.sort(split.train), 2).tolist()
        np.testing.assert_array_equal(trainer._train.values, taught.values)
        originals, owners = read(split.validation, 0)
        assert owners.tolist() == sorted(split.validation)
        np.testing.assert_array_equal(trainer._validation.values, originals.values)


def test_an_extractor_trained_anew_needs_embeddings_and_heads_of_its_own(prepared):
    trained(prepared)
    n_classes = len(prepared.dataset.labels)
    load_head(prepared.store, "h", "x", n_classes)
    shutil.rmtree(Path(prepared.store.root, "extractors/x"))
    another = replace(EXTRACTOR, training=replace(ONE_EPOCH, seed=1))
    train_here([ExtractorTask(another)], prepared.store)
    with pytest.raises(CommandError, match="run embed"):
        embedded(prepared, "x", 0)
    with pytest.raises(CommandError, match="another extractor"):
        load_head(prepared.store, "h", "x", n_classes)


def test_an_ensemble_trained_on_everything_is_published_without_figures(prepared, tmp_path):
    trained(prepared, replace(EXTRACTOR, split="all"))
    publish = PublishJob(folder=str(tmp_path / "model"), name="m")
    job = EvaluateJob(work=prepared.store.root, name="e", members=(("h", "x"),), publish=publish)
    with pytest.raises(CommandError, match="leaves clips to test on"):
        evaluate.run(replace(job, publish=None), [])
    evaluate.run(job, [])
    about = Tagger.load(tmp_path / "model").card.about
    assert (about["metrics"], about["data"]["n_clips"]) == ({}, 27)
