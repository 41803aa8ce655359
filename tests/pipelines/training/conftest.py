"""For the training steps: a prepared data set with an extractor and a head upon it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.training.jobs import PrepareJob
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.workfolder.patches import Prepared
from tagger.configs import AttentionConfig, TrainingConfig, VGGishConfig
from tests.support.small_data import prepare_here, write_folds

ONE_EPOCH = TrainingConfig(epochs=1, patience=None, batches="balanced")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch computes with one thread, as in a worker with one CPU."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def extractor() -> ExtractorSpec:
    """Named x; trained on a fold and a copy of each clip."""
    return ExtractorSpec(
        name="x",
        split="fold-1-first",
        vggish=VGGishConfig((2, 2, 4, 4), 8),
        training=ONE_EPOCH,
        copies=1,
    )


@pytest.fixture
def head() -> HeadSpec:
    """Named h; trained on a copy of each clip."""
    return HeadSpec(
        name="h",
        network=AttentionConfig(2, hidden=6),
        training=replace(ONE_EPOCH, batches="examples"),
        copies=1,
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """27 clips of three classes in three folds, a copy of each."""
    data = write_folds(tmp_path, n_folds=3)
    return prepare_here(PrepareJob(data=str(data), work=str(tmp_path / "work"), copies=1))
