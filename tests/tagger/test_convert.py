"""Foreign VGGish weights, and the published figures that prove them."""

import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import resampy
import scipy.signal.windows
import torch

from tagger import checkpoint, convert
from tagger.card import read_model
from tagger.configs import VGGishConfig
from tagger.errors import CommandError
from tagger.logmel import patches
from tagger.tagging import Tagger
from tagger.vggish import VGGish
from tagger.vggish_reference import PUBLISHED, Reference, as_resampy_02, native_tone, recorded_tone

NARROW = VGGishConfig(conv_widths=(2, 3, 4, 5), hidden=6)
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def network(make_extractor) -> VGGish:
    return make_extractor(NARROW)


@pytest.fixture
def state(network) -> State:
    """Torchvggish's spelling, which is ours."""
    return {key: value.clone() for key, value in network.state_dict().items()}


def torchaudio(state: State) -> State:
    spelt = {"features": "features_network", "embeddings": "embedding_network"}
    return {f"{spelt[k.partition('.')[0]]}.{k.partition('.')[2]}": v for k, v in state.items()}


def torch_audioset(state: State) -> State:
    classifier = {"classifier.0.weight": torch.zeros(100, 128), "classifier.2.bias": torch.zeros(7)}
    return state | classifier


def hub_dump(state: State) -> State:
    pca = {"pproc.pca_eigen_vectors": torch.eye(128), "pproc.pca_means": torch.ones(128, 1)}
    return state | pca


def data_parallel(state: State) -> State:
    return {f"module.{key}": value for key, value in hub_dump(torchaudio(state)).items()}


LAYOUTS = [dict, torchaudio, torch_audioset, hub_dump, data_parallel]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_spelling_gives_the_same_network(network, state, layout, tmp_path):
    torch.save(layout(state), tmp_path / "weights.pth")
    converted = convert.convert(convert.read_state(tmp_path / "weights.pth"))
    assert converted.config == NARROW
    assert not converted.training
    tone = torch.from_numpy(patches(native_tone()))
    with torch.inference_mode():
        assert torch.equal(converted(tone), network(tone))


def test_other_number_formats_become_float32(state):
    converted = convert.convert({key: value.half() for key, value in state.items()})
    assert {value.dtype for value in converted.state_dict().values()} == {torch.float32}


def test_the_network_does_not_share_the_memory_of_the_file(state):
    converted = convert.convert(state)
    state["embeddings.4.bias"].fill_(9)
    assert not (converted.state_dict()["embeddings.4.bias"] == 9).any()


def test_without_the_activation(state):
    converted = convert.convert(state, "none")
    assert converted.config == replace(NARROW, embedding_activation="none")
    assert len(converted.embeddings) == 5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("features.3.bias"), "lacks features.3.bias"),
        (lambda s: s.clear(), "lacks features.0.weight, .* and 15 more"),
        (lambda s: s.update(fc=torch.zeros(1)), "no part of VGGish: fc"),
        (
            lambda s: s.update({"features.3.bias": torch.zeros(9)}),
            r"wrong shape: features.3.bias \(9,\) instead of \(3,\)",
        ),
        (
            lambda s: s.update({"features.6.weight": s["features.6.weight"].permute(2, 3, 1, 0)}),
            r"features.6.weight \(3, 3, 3, 4\) instead of",
        ),
        (
            lambda s: s.update({"embeddings.4.weight": torch.zeros(128, 7)}),
            r"embeddings.4.weight \(128, 7\) instead of \(128, 6\)",
        ),
        (lambda s: s.update({"embeddings.0.weight": torch.tensor(1.0)}), "wrong shape"),
        (lambda s: s.update({"features.0.weight": torch.zeros(0, 1, 3, 3)}), "wrong shape"),
    ],
)
def test_states_that_are_no_vggish(state, change, complaint):
    change(state)
    with pytest.raises(CommandError, match=f"^the file .*{complaint}") as caught:
        convert.convert(state)
    assert "\n" not in str(caught.value)


class Surprise:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return pytest.fail, ("a pickle was run",)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x08\x03\x12 an onnx file, say" * 9),
        lambda path: path.write_bytes(pickle.dumps(Surprise())),
        lambda path: torch.save({"features.0.weight": Surprise()}, path),
        lambda path: torch.save({"pca_means": np.zeros(3)}, path),  # as torchvggish's PCA file
        lambda path: torch.save([torch.zeros(1)], path),
        lambda path: torch.save({0: torch.zeros(1)}, path),
        lambda path: torch.save({"state_dict": {"a": torch.zeros(1)}}, path),
        lambda path: path.mkdir(),
    ],
)
def test_files_that_are_no_state_dict(tmp_path, write):
    write(tmp_path / "file.pth")
    with pytest.raises(CommandError) as caught:
        convert.read_state(tmp_path / "file.pth")
    assert "\n" not in str(caught.value)


def test_a_truncated_file(state, tmp_path):
    path = tmp_path / "file.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CommandError, match="cannot be read as a PyTorch state dict"):
        convert.read_state(path)


def test_published_figures_agree_with_each_other():
    """Mean and spread of the embedding and of its uint8.

    TensorFlow's smoke test of 2017 has 0.131 and 0.238, and 123.0 and 75.0.
    """
    assert PUBLISHED.embedding.shape == PUBLISHED.quantised.shape == (128,)
    assert PUBLISHED.embedding.mean() == pytest.approx(0.130352, abs=1e-6)
    assert PUBLISHED.embedding.std() == pytest.approx(0.238246, abs=1e-6)
    assert PUBLISHED.quantised.mean() == pytest.approx(123.0, abs=0.1)
    assert PUBLISHED.quantised.std() == pytest.approx(75.0, abs=0.5)
    assert (PUBLISHED.conv_widths, PUBLISHED.hidden) == (
        VGGishConfig().conv_widths,
        VGGishConfig().hidden,
    )


def test_resampling_is_that_of_resampy_0_2():
    """Today's resampy, given the filter and the coarse table of that version.

    But for every 160th sample, where the time is a whole number: that version added up its steps,
    and falls short of it.
    """
    ours = as_resampy_02(recorded_tone())
    theirs = resampy.resample(
        recorded_tone(),
        44_100,
        16_000,
        filter="sinc_window",
        num_zeros=64,
        precision=9,
        rolloff=0.9475937167399596,
        window=lambda n: scipy.signal.windows.kaiser(n, 14.769656459379492),
    )
    assert ours.shape == theirs.shape == (48_000,)
    between = np.arange(48_000) % 160 > 0
    assert np.abs(ours - theirs)[between].max() < 1e-5
    assert np.abs(ours - theirs).max() < 1e-3


def published_of(network: VGGish, **changes: object) -> Reference:
    """What is published, had it been of ``network``; computed layer by layer."""
    weights = {key: value.double() for key, value in network.state_dict().items()}

    def before_activation(waveform: np.ndarray) -> torch.Tensor:
        x = torch.from_numpy(patches(waveform.astype(np.float32))).double()[:, None]
        for layer in network.features:
            kind = type(layer).__name__
            index = f"features.{list(network.features).index(layer)}"
            if kind == "Conv2d":
                weight, bias = weights[f"{index}.weight"], weights[f"{index}.bias"]
                x = torch.nn.functional.conv2d(x, weight, bias, padding=1)
            else:
                x = x.relu() if kind == "ReLU" else torch.nn.functional.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1)
        for index in (0, 2, 4):
            x = x @ weights[f"embeddings.{index}.weight"].T + weights[f"embeddings.{index}.bias"]
            x = x.relu() if index < 4 else x
        return x

    tone = before_activation(native_tone())
    return replace(
        Reference(
            before_activation(as_resampy_02(recorded_tone()[:44_100]))[0].relu().float().numpy(),
            PUBLISHED.quantised,
            float(tone.mean()),
            float(tone.std(correction=0)),
            network.config.conv_widths,
            network.config.hidden,
        ),
        **changes,
    )


@pytest.mark.parametrize("activation", ["relu", "none"])
def test_the_true_weights_pass(network, state, activation):
    found = convert.verify(convert.convert(state, activation), published_of(network))
    assert found.embedding_difference < 1e-3
    assert network.training is False


def test_another_resampler_is_within_the_tolerance(network, state):
    """The published embedding made with today's resampy instead."""
    modern = resampy.resample(recorded_tone(), 44_100, 16_000).astype(np.float32)
    with torch.inference_mode():
        embedding = network(torch.from_numpy(patches(modern)))[0].numpy()
    published = published_of(network, embedding=embedding)
    found = convert.verify(convert.convert(state), published)
    assert 1e-3 < found.embedding_difference < convert.EMBEDDING_TOLERANCE


def swap_time_and_band(state: State) -> None:
    for key, value in state.items():
        if value.ndim == 4:
            state[key] = value.transpose(2, 3).contiguous()


def flatten_otherwise(state: State) -> None:
    weight = state["embeddings.0.weight"]
    state["embeddings.0.weight"] = weight.reshape(6, 6, 4, 5).permute(0, 3, 1, 2).reshape(6, -1)


def no_number(state: State) -> None:
    state["embeddings.4.bias"][0] = torch.nan


def shifted(state: State) -> None:
    state["embeddings.4.bias"] += 0.1


@pytest.mark.parametrize("change", [swap_time_and_band, flatten_otherwise, no_number, shifted])
def test_other_weights_do_not_pass(network, state, change):
    change(state)
    with pytest.raises(CommandError, match="these are not the published VGGish weights"):
        convert.verify(convert.convert(state), published_of(network))


@pytest.mark.parametrize("name", ["mean", "std"])
def test_the_tone_without_resampling_counts_too(network, name):
    published = published_of(network)
    other = replace(published, **{name: getattr(published, name) + 0.01})
    with pytest.raises(CommandError, match="mean and standard deviation are"):
        convert.verify(network, other)


def test_widths_other_than_table_1_are_refused(network):
    with pytest.raises(CommandError, match=r"\(2, 3, 4, 5\) and 6 are not those of .* 4096"):
        convert.verify(network)


def test_a_model_of_extractors_only_embeds_and_does_not_tag(network, tmp_path):
    checkpoint.save(tmp_path, "vggish", [], {"vggish": network}, [], {})
    with pytest.raises(CommandError, match="holds extractors only and cannot tag"):
        Tagger.load(tmp_path)
    tone = patches(native_tone())
    with torch.inference_mode():
        expected = network(torch.from_numpy(tone)).numpy()
    assert np.allclose(Tagger(read_model(tmp_path)).embed(tone)[0], expected, atol=1e-5)
