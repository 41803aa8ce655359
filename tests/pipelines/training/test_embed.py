"""Patches to embeddings; Ray's part is in test_reproduce."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.training import embed as step
from pipelines.training.embed import Embedder, embed
from pipelines.training.finetune import ExtractorTask
from pipelines.training.jobs import EmbedJob
from pipelines.training.specs import ExtractorSpec
from pipelines.training.workfolder.embeddings import EMBEDDINGS, finished_folder
from pipelines.training.workfolder.patches import patches_of
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.vggish import VGGish, initialise
from tests.support.small_data import CountingStore, shards, train_here


@pytest.fixture(scope="module")
def network() -> VGGish:
    network = VGGish(VGGishConfig((2, 2, 4, 4), 8)).eval()
    initialise(network)
    return network


def test_one_row_per_patch(prepared, network):
    (takes,) = shards(prepared)
    table = embed(takes, "x", network, torch.device("cpu"))
    assert table.schema == EMBEDDINGS
    with torch.inference_mode():
        patches = torch.from_numpy(patches_of(takes["patches"]).astype(np.float32))
        expected = network(patches).numpy()
    found = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert table["segment"].to_pylist()[:5] == [0, 1, 0, 1, 0]  # 2.5 s, its copy, then 1 s
    assert table["copy"].to_pylist()[:5] == [0, 0, 1, 1, 0]


def test_a_shard_without_takes_has_no_embeddings(prepared, network):
    (takes,) = shards(prepared)
    assert len(embed(takes.slice(0, 0), "x", network, torch.device("cpu"))) == 0


def test_a_shard_is_read_once_for_all_extractors(prepared, extractor):
    store = CountingStore(prepared.store.root)
    for name in "xy":
        train_here([ExtractorTask(ExtractorSpec(**vars(extractor) | {"name": name}))], store)
    store.n_reads.clear()
    embedder = Embedder(type(prepared)(store, prepared.info, prepared.dataset), copies=0)
    made = embedder(pa.table({"shard": [0], "extractors": [["x", "y"]]}))
    (takes,) = shards(prepared)
    n_patches = sum(row["n_patches"] for row in takes.to_pylist() if row["copy"] == 0)
    assert made["n_segments"].to_pylist() == [2 * n_patches]
    assert store.n_reads["patches/part-00000.parquet"] == 1
    for name in "xy":
        assert finished_folder(prepared, name, 0).endswith("/0")


def test_the_baseline_has_no_embeddings(prepared):
    config = TrainingConfig(epochs=1, patience=None)
    spec = ExtractorSpec(name="b", split="fold-1", network="baseline", training=config)
    train_here([ExtractorTask(spec)], prepared.store)
    with pytest.raises(CommandError, match="baseline CNN"):
        step.run(EmbedJob(work=prepared.store.root, extractors=("b",)), [])
