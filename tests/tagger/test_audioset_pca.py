"""AudioSet's PCA: where it is read from, number by number, and what proves it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tagger import audioset_pca, checkpoint
from tagger.audioset_pca import PCA
from tagger.card import read_model
from tagger.configs import VGGishConfig
from tagger.errors import CommandError
from tagger.vggish_reference import PUBLISHED


@pytest.fixture
def pca() -> PCA:
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(128, 128)))[0]
    return PCA(vectors, rng.normal(size=128))


def test_postprocessing_number_by_number(pca):
    embeddings = np.random.default_rng(1).normal(size=(3, 128)).astype(np.float32)
    found = audioset_pca.postprocess(embeddings, pca)
    assert found.dtype == np.uint8
    for row, embedding in zip(found, embeddings, strict=True):
        for number, vector in zip(row, pca.eigen_vectors, strict=True):
            pairs = zip(vector, embedding, pca.means, strict=True)
            y = sum(float(v) * (float(x) - float(m)) for v, x, m in pairs)
            assert number == int((min(max(y, -2.0), 2.0) + 2.0) * 255 / 4)


def test_postprocessing_cuts_off_and_does_not_round():
    values = np.array([-3.0, -2.0, 0.0, 0.01, 1.99, 2.0, 3.0] + [0.0] * 121, np.float32)
    found = audioset_pca.postprocess(values[None], PCA(np.eye(128), np.zeros(128)))
    assert found[0, :7].tolist() == [0, 0, 127, 128, 254, 255, 255]


def test_of_the_npz(pca, tmp_path):
    path = tmp_path / "vggish_pca_params.npz"
    np.savez(path, pca_eigen_vectors=pca.eigen_vectors, pca_means=pca.means)
    read = audioset_pca.of_npz(path)
    assert np.array_equal(read.eigen_vectors, pca.eigen_vectors)
    assert np.array_equal(read.means, pca.means)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_of_a_hub_dump(prefix):
    state = {
        f"{prefix}pproc.pca_eigen_vectors": torch.eye(128),
        f"{prefix}pproc.pca_means": torch.ones(128, 1),
        f"{prefix}features.0.bias": torch.zeros(64),
    }
    dumped = audioset_pca.of_state(state)
    assert np.array_equal(dumped.eigen_vectors, np.eye(128))
    assert np.array_equal(dumped.means, np.ones(128))
    assert audioset_pca.of_state({"features.0.bias": torch.zeros(64)}) is None


@pytest.mark.parametrize(
    "arrays",
    [
        {"pca_means": np.zeros(128)},
        {"pca_means": np.zeros(128), "pca_eigen_vectors": np.zeros((3, 3))},
        {"pca_means": np.zeros(3), "pca_eigen_vectors": np.zeros((128, 128))},
        {"pca_means": np.array([object()]), "pca_eigen_vectors": np.zeros((128, 128))},
        None,
    ],
)
def test_files_that_hold_no_pca(tmp_path, arrays):
    path = tmp_path / "pca.npz"
    path.write_bytes(b"no npz") if arrays is None else np.savez(path, **arrays)
    with pytest.raises(CommandError, match="PCA") as caught:
        audioset_pca.of_npz(path)
    assert "\n" not in str(caught.value)


def test_it_is_verified_by_the_published_embedding(pca):
    quantised = audioset_pca.postprocess(PUBLISHED.embedding[None], pca)[0]
    audioset_pca.verify(pca, replace(PUBLISHED, quantised=quantised))
    other = PCA(pca.eigen_vectors.T, pca.means)
    with pytest.raises(CommandError, match="not AudioSet's PCA parameters"):
        audioset_pca.verify(other, replace(PUBLISHED, quantised=quantised))


def test_beside_a_model(make_extractor, pca, tmp_path):
    about = {"pca": audioset_pca.write(tmp_path, pca)}
    extractor = make_extractor(VGGishConfig((2, 3, 4, 5), 6))
    checkpoint.save(tmp_path, "vggish", [], {"vggish": extractor}, [], about)
    stored = load_file(tmp_path / read_model(tmp_path).card.about["pca"]["file"])
    assert np.array_equal(stored["eigen_vectors"], pca.eigen_vectors)
    assert np.array_equal(stored["means"], pca.means)
