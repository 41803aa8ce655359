"""Patches to embeddings, and what heads read of them; Ray's part is in test_reproduce."""

import json

import numpy as np
import pytest
import torch

from pipelines.training.embed import EMBEDDINGS, embed, embedded_takes
from pipelines.training.jobs import PrepareJob
from pipelines.training.workfolder.patches import Prepared, patches_of, shard, write_table
from tagger.configs import VGGishConfig
from tagger.errors import CommandError
from tagger.vggish import VGGish, initialise
from tests.support.small_data import prepare_here, write_folds


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top)
    return prepare_here(PrepareJob(data=str(data), work=str(top / "work"), copies=1))


@pytest.fixture(scope="module")
def network() -> VGGish:
    network = VGGish(VGGishConfig((2, 2, 4, 4), 8)).eval()
    initialise(network)
    return network


def test_one_row_per_patch(prepared, network):
    (patches,) = prepared.shards()
    table = embed(patches, "x", network, torch.device("cpu"))
    assert table.schema == EMBEDDINGS
    values = np.concatenate([patches_of(value) for value in patches["patches"]])
    with torch.inference_mode():
        expected = network(torch.from_numpy(values.astype(np.float32))).numpy()
    found = np.stack(table["embedding"].to_numpy(zero_copy_only=False))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert table["segment"].to_pylist()[:3] == [0, 1, 0]  # 2.5 s, then its copy


def test_heads_read_some_clips_and_copies(prepared, network):
    (patches,) = prepared.shards()
    table = embed(patches, "y", network, torch.device("cpu"))
    for name in "yz":
        record = json.dumps({"weights": "0123456789"}).encode()
        prepared.store.write(f"extractors/{name}/record.json", record)
    write_table(prepared.store, shard(0, "embeddings/y/01234567/1"), table)
    for copies, n_each in ((0, 1), (1, 2)):
        takes, owners = embedded_takes(prepared, "y", np.array([0, 4]), copies)
        assert owners.tolist() == [0] * n_each + [4] * n_each
        expected, _ = prepared.takes(np.array([0, 4]), copies)
        assert takes.starts.tolist() == expected.starts.tolist()
        assert takes.labels.tolist() == expected.labels.tolist()
    with pytest.raises(CommandError, match="run embed"):
        embedded_takes(prepared, "y", np.array([0]), 2)
    with pytest.raises(CommandError, match="run embed"):
        embedded_takes(prepared, "z", np.array([0]), 0)
