"""Embeddings in a work folder: which folder, and what heads read of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.training.finetune import ExtractorTask
from pipelines.training.workfolder import extractors, heads
from pipelines.training.workfolder.embeddings import (
    finished_folder,
    folder,
    load_embeddings,
)
from pipelines.training.workfolder.patches import load_patches
from tagger.errors import CommandError
from tests.support.small_data import embed_here, train_here, train_member


@pytest.fixture
def embedded(prepared, extractor):
    """Extractor x, embedded with one copy of each clip."""
    train_here([ExtractorTask(extractor)], prepared.store)
    embed_here(prepared, "x", 1)
    return prepared


def test_heads_read_some_clips_and_copies(embedded):
    for copies in (0, 1):
        clips = np.array([0, 4])
        loaded = load_embeddings(embedded, "x", clips, copies)
        patches = load_patches(embedded, clips, copies)
        assert loaded.clips.tolist() == patches.clips.tolist()
        assert loaded.copies.tolist() == patches.copies.tolist()
        assert loaded.takes.starts.tolist() == patches.takes.starts.tolist()
        assert loaded.takes.labels.tolist() == patches.takes.labels.tolist()
        assert loaded.takes.values.shape == (len(patches.takes.values), 128)


def test_enough_copies_must_have_been_embedded(embedded):
    assert finished_folder(embedded, "x", 1) == folder(embedded.store, "x", 1)
    with pytest.raises(CommandError, match="with 2 copies; run embed"):
        finished_folder(embedded, "x", 2)
    embed_here(embedded, "x", None)
    assert finished_folder(embedded, "x", 1_000_000) == folder(embedded.store, "x", None)


def test_embeddings_that_are_not_complete_do_not_count(embedded):
    embedded.store.remove(embedded.store.list("embeddings"))
    with pytest.raises(CommandError, match="run embed"):
        load_embeddings(embedded, "x", np.array([0]), 0)


def test_an_extractor_trained_anew_needs_embeddings_and_heads_of_its_own(prepared, extractor, head):
    train_member(prepared, extractor, head)
    heads.load(prepared.store, "h", "x", 3, "one")
    shutil.rmtree(Path(prepared.store.root, extractors.folder("x")))
    another = replace(extractor, training=replace(extractor.training, seed=1))
    train_here([ExtractorTask(another)], prepared.store)
    with pytest.raises(CommandError, match="run embed"):
        finished_folder(prepared, "x", 0)
    with pytest.raises(CommandError, match="another extractor"):
        heads.load(prepared.store, "h", "x", 3, "one")


def test_what_is_not_there_is_told(prepared):
    with pytest.raises(CommandError, match="run finetune first"):
        extractors.read_spec(prepared.store, "x")
    with pytest.raises(CommandError, match="run fit first"):
        heads.load(prepared.store, "h", "x", 3, "one")
