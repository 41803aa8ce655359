"""``weights`` from a real server and from files: what is checked, what is written, what is refused.

The networks are narrow; what is "published" of them is their own embedding.
"""

import hashlib
import io
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipelines.assets import weights
from pipelines.assets.download import check_url
from pipelines.assets.weights import KNOWN, KNOWN_PCA, WeightsJob
from pipelines.storage.checksums import Checksum
from pipelines.storage.errors import StoreUnavailable
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger import audioset_pca
from tagger.audioset_pca import PCA
from tagger.card import read_model
from tagger.checkpoint import build
from tagger.configs import VGGishConfig
from tagger.errors import CommandError
from tagger.logmel import patches
from tagger.vggish import VGGish, initialise
from tagger.vggish_reference import Reference, as_resampy_02, native_tone, recorded_tone

NARROW = VGGishConfig(conv_widths=(2, 3, 4, 5), hidden=6)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = VGGish(NARROW)
    initialise(network)
    return network.eval()


@pytest.fixture(scope="module")
def pca():
    rng = np.random.default_rng(0)
    return PCA(rng.normal(size=(128, 128)), rng.normal(size=128))


@pytest.fixture(scope="module")
def published(network, pca):
    """What would be published of the narrow network."""
    with torch.inference_mode():
        recorded = patches(as_resampy_02(recorded_tone()[:44_100]).astype(np.float32))
        embedding = network(torch.from_numpy(recorded))[0].numpy()
        network.embeddings[5] = torch.nn.Identity()
        values = network(torch.from_numpy(patches(native_tone()))).numpy()
        network.embeddings[5] = torch.nn.ReLU(inplace=True)
    quantised = audioset_pca.postprocess(embedding[None], pca)[0]
    mean, std = float(values.mean()), float(values.std())
    return Reference(embedding, quantised, mean, std, NARROW.conv_widths, NARROW.hidden)


@pytest.fixture(scope="module")
def data(network):
    """The network as torchaudio would spell it, as a file."""
    spelt = {"features": "features_network", "embeddings": "embedding_network"}
    state = {f"{spelt[k.split('.')[0]]}.{k.split('.', 1)[1]}": v for k, v in _state(network)}
    return _saved(state)


@pytest.fixture(scope="module")
def npz(pca):
    file = io.BytesIO()
    np.savez(file, pca_eigen_vectors=pca.eigen_vectors, pca_means=pca.means)
    return file.getvalue()


def _state(network):
    return network.state_dict().items()


def _saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "vggish"


def assert_is_the_model(folder, network):
    model = read_model(folder)
    assert model.card.members == ()
    (extractor,) = build(model).extractors.values()
    assert extractor.config == network.config
    for key, value in _state(network):
        assert torch.equal(extractor.state_dict()[key], value)
    return model.card.about


def test_from_a_server(file_server, network, published, data, out):
    name = f"/vggish-{_sha256(data)[:8]}.pth"
    file_server.files[name] = data
    file_server.faults[name] = ["503", "cut:3000", "cut:10"]
    job = WeightsJob(out=str(out), source=file_server.url + name)
    record = weights.run(job, ["weights", "--out", "x"], published)
    about = assert_is_the_model(out, network)
    assert about["source"] == record.source == file_server.url + name
    assert about["sha256"] == _sha256(data)
    assert about["checked"] == record.checked == f"sha256:{_sha256(data)[:8]}"
    assert about["command"] == "weights --out x"
    assert about["verification"]["embedding_difference"] < 1e-3
    assert "torch" in about["versions"]
    assert "Apache-2.0" in about["licence"]
    assert "pca" not in about
    assert sorted(p.name for p in out.iterdir()) == [
        "card.json",
        "extractor-vggish.safetensors",
    ]
    assert record.model_id == read_model(out).card.model_id
    assert "reproduced to 0.00%" in record.text


def test_from_a_local_file(network, published, data, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    job = WeightsJob(out=str(out), source=str(tmp_path / "mine.pth"))
    record = weights.run(job, published=published)
    about = assert_is_the_model(out, network)
    assert record.checked is None
    assert f"sha256 {_sha256(data)}, compared with nothing" in record.text
    assert about["source"] == "mine.pth"
    assert str(tmp_path) not in json.dumps(dict(about))


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_given_checksum(network, published, data, out, tmp_path, algorithm):
    path = tmp_path / "vggish-00000000.pth"
    path.write_bytes(data)
    checksum = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    record = weights.run(
        WeightsJob(out=str(out), source=str(path), checksum=checksum), published=published
    )
    assert record.checked == checksum
    wrong = WeightsJob(out=str(out) + "2", source=str(path), checksum="sha256:" + "0" * 64)
    with pytest.raises(CommandError, match="it is another file than expected"):
        weights.run(wrong, published=published)


def test_a_known_name_of_a_local_file_is_held_to_its_checksum(published, data, out, tmp_path):
    path = tmp_path / "vggish-10086976.pth"
    path.write_bytes(data)
    with pytest.raises(CommandError, match="not 10086976: it is another file"):
        weights.run(WeightsJob(out=str(out), source=str(path)), published=published)


def test_the_digits_of_a_hub_name_are_compared(file_server, published, data, out):
    file_server.files["/vggish-0123abcd.pth"] = data
    job = WeightsJob(out=str(out), source=f"{file_server.url}/vggish-0123abcd.pth")
    with pytest.raises(CommandError, match="not 0123abcd"):
        weights.run(job, published=published)
    assert not (out / "card.json").exists()


def test_with_pca(file_server, pca, published, data, npz, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    file_server.files["/pca.npz"] = npz
    job = WeightsJob(
        out=str(out), source=str(tmp_path / "mine.pth"), pca=f"{file_server.url}/pca.npz"
    )
    assert weights.run(job, published=published).pca
    stored = load_file(out / audioset_pca.FILE)
    assert np.array_equal(stored["eigen_vectors"], pca.eigen_vectors)
    assert np.array_equal(stored["means"], pca.means)


def test_pca_of_a_hub_dump(network, pca, published, out, tmp_path):
    state = dict(_state(network)) | {
        "pproc.pca_eigen_vectors": torch.from_numpy(pca.eigen_vectors).float(),
        "pproc.pca_means": torch.from_numpy(pca.means).float()[:, None],
    }
    (tmp_path / "dump.pth").write_bytes(_saved(state))
    job = WeightsJob(out=str(out), source=str(tmp_path / "dump.pth"))
    assert weights.run(job, published=published).pca
    assert np.allclose(load_file(out / audioset_pca.FILE)["means"], pca.means)


def test_another_pca_is_refused(published, data, npz, pca, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=pca.eigen_vectors.T, pca_means=pca.means)
    job = WeightsJob(out=str(out), source=str(tmp_path / "mine.pth"), pca=str(tmp_path / "pca.npz"))
    with pytest.raises(CommandError, match="not AudioSet's PCA"):
        weights.run(job, published=published)
    assert not out.exists()


def test_weights_that_do_not_give_the_published_embedding(network, published, out, tmp_path):
    state = {k: v.transpose(2, 3) if v.ndim == 4 else v for k, v in _state(network)}
    (tmp_path / "swapped.pth").write_bytes(_saved(state))
    job = WeightsJob(out=str(out), source=str(tmp_path / "swapped.pth"))
    with pytest.raises(CommandError, match="not the published VGGish weights"):
        weights.run(job, published=published)
    assert not out.exists()


def test_the_official_way_demands_table_1(data, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    with pytest.raises(CommandError, match="are not those of the published VGGish"):
        weights.run(WeightsJob(out=str(out), source=str(tmp_path / "mine.pth")))


def test_the_other_activation(published, data, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    job = WeightsJob(out=str(out), source=str(tmp_path / "mine.pth"), embedding_activation="none")
    weights.run(job, published=published)
    (extractor,) = build(read_model(out)).extractors.values()
    assert extractor.config.embedding_activation == "none"


def test_a_folder_that_holds_a_model(published, data, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    job = WeightsJob(out=str(out), source=str(tmp_path / "mine.pth"))
    weights.run(job, published=published)
    with pytest.raises(CommandError, match="holds a model already"):
        weights.run(job, published=published)


def test_a_download_that_broke_off_goes_on_in_the_next_run(file_server, published, data, out):
    name = f"/vggish-{_sha256(data)[:8]}.pth"
    file_server.files[name] = data
    file_server.faults[name] = ["cut:3000", "*cut:0"]
    job = WeightsJob(out=str(out), source=file_server.url + name, store_patience_s=0.3)
    with pytest.raises(StoreUnavailable, match="broke off"):
        weights.run(job, published=published)
    file_server.faults[name].clear()
    file_server.requests.clear()
    weights.run(job, published=published)
    assert file_server.requests == [(name, "bytes=3000-")]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"out": "s3://bucket/model"}, "out must be a local folder"),
        ({"source": "http://example.org/x.pth"}, "is no https:// URL"),
        ({"source": "https://user:word@example.org/x.pth"}, "holds credentials"),
        ({"pca": "ftp://example.org/x.npz"}, "pca ftp:.* is no https:// URL"),
    ],
)
def test_commands_that_cannot_be_carried_out(changes, complaint):
    with pytest.raises(CommandError, match=complaint):
        WeightsJob(**{"out": "model"} | changes)


def test_a_source_that_is_not_there(out):
    with pytest.raises(CommandError, match=r"no such file; .* torchvggish, torch_audioset"):
        weights.run(WeightsJob(out=str(out), source="nowhere.pth"))


@pytest.mark.parametrize("file", [*KNOWN.values(), *KNOWN_PCA.values()], ids=lambda f: f.url)
def test_known_files_are_well_formed(file):
    check_url(file.url, "known")
    if file.checksum:
        Checksum.parse(file.checksum)


def test_tag_refuses_a_model_without_heads(published, data, out, tmp_path):
    (tmp_path / "mine.pth").write_bytes(data)
    weights.run(WeightsJob(out=str(out), source=str(tmp_path / "mine.pth")), published=published)
    job = TagJob(inputs=(str(tmp_path),), out=str(tmp_path / "tables"), model=str(out))
    with pytest.raises(CommandError, match="holds extractors only and cannot tag"):
        tag(job, [])
    assert not (tmp_path / "tables").exists()
