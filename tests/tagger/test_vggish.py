"""VGGish against torchvggish's network, and the numbers of the paper's Table 1."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tagger import vggish
from tagger.configs import VGGishConfig
from tagger.vggish import (
    NormalisedClassifier,
    VGGish,
    VGGishClassifier,
    initialise,
    initialise_from_data,
)

NARROW = VGGishConfig((4, 8, 12, 16), 24)


@pytest.fixture(scope="module")
def patches() -> torch.Tensor:
    """(3, 96, 64) in the range of log-mel values."""
    return torch.empty(3, 96, 64).uniform_(-4.6, 4.8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvggish's network with random weights that keep the size of what passes through."""
    from torchvggish.torchvggish import VGG, make_layers

    torch.manual_seed(0)
    network = VGG(make_layers(), postprocess=False)
    initialise(network)
    return network.eval()


@torch.inference_mode()
def test_equals_torchvggish_and_loads_its_weights(reference, patches):
    with torch.device("meta"):
        network = VGGish()
    network.load_state_dict(reference.state_dict(), assign=True)
    expected = reference(patches.unsqueeze(1))
    assert expected.std() > 0.1
    torch.testing.assert_close(network(patches), expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_without_an_activation_relu_is_all_that_is_missing(make_extractor, patches):
    plain = make_extractor(VGGishConfig(NARROW.conv_widths, NARROW.hidden, "none"))
    rectified = VGGish(NARROW)
    rectified.load_state_dict(plain.state_dict())
    embeddings = plain(patches)
    assert (embeddings < 0).any()
    torch.testing.assert_close(rectified(patches), embeddings.clamp(min=0))


def test_the_paper_s_widths_have_72_141_184_parameters():
    with torch.device("meta"):
        network = VGGish()
    assert sum(parameter.numel() for parameter in network.parameters()) == 72_141_184


def test_shapes_of_table_1():
    """Sizes after each pooling and of the flat layer, from the table's rows."""
    with torch.device("meta"):
        network = VGGish()
        x = torch.empty(2, 1, 96, 64)
        pooled = []
        for layer in network.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pooled.append(tuple(x.shape[1:]))
    assert pooled == [(64, 48, 32), (128, 24, 16), (256, 12, 8), (512, 6, 4)]
    sizes = [layer.weight.shape for layer in network.embeddings if isinstance(layer, nn.Linear)]
    assert sizes == [(4096, 12_288), (4096, 4096), (128, 4096)]


def _plain_vggish(weights: dict[str, np.ndarray], patch: np.ndarray) -> np.ndarray:
    """Table 1 on one (96, 64) patch in double precision: convolution as sums over the kernel."""
    x = patch[None].astype(np.float64)
    for group in ([0], [3], [6, 8], [11, 13]):
        for index in group:
            kernel, bias = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
            _, height, width = x.shape
            x = bias[:, None, None] + sum(
                np.tensordot(kernel[:, :, i, j], padded[:, i : i + height, j : j + width], 1)
                for i in range(3)
                for j in range(3)
            )
            x = np.maximum(x, 0)
        channels, height, width = x.shape
        x = x.reshape(channels, height // 2, 2, width // 2, 2).max((2, 4))
    # Flatten row by row, within a row column by column, channels last.
    flat = np.array([x[c, i, j] for i in range(6) for j in range(4) for c in range(len(x))])
    for index in (0, 2, 4):
        flat = weights[f"embeddings.{index}.weight"] @ flat + weights[f"embeddings.{index}.bias"]
        flat = np.maximum(flat, 0)
    return flat


@torch.inference_mode()
def test_equals_a_plain_version_with_channels_flattened_last(make_extractor, patches):
    network = make_extractor(NARROW)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.normal_(0, 0.1)
    weights = {key: value.double().numpy() for key, value in network.state_dict().items()}
    expected = np.stack([_plain_vggish(weights, patch) for patch in patches.numpy()])
    np.testing.assert_allclose(network(patches).numpy(), expected, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_classifier_adds_100_units_and_the_classes(patches):
    torch.manual_seed(3)
    network = VGGishClassifier(VGGish(NARROW), 41).eval()
    hidden, _, output = network.classifier
    assert (hidden.out_features, output.out_features) == (100, 41)
    embeddings = network.extractor(patches)
    units = (embeddings @ hidden.weight.T + hidden.bias).clamp(min=0)
    torch.testing.assert_close(network(patches), functional.linear(units, *output.parameters()))


@torch.inference_mode()
def test_initialised_from_data_every_layer_s_output_has_unit_variance(patches):
    torch.manual_seed(4)
    network = VGGishClassifier(VGGish(NARROW), 5)
    initialise_from_data(network, patches)
    outputs = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(lambda _, given, output: outputs.append(output.clone()))
    network(patches)
    *inner, last = outputs
    for output in inner:
        spread = output.std() if output.ndim == 4 else output.std(0).mean()
        assert spread.item() == pytest.approx(1.0, rel=1e-3)
    assert last.std(0).mean().item() == pytest.approx(0.1, rel=1e-3)


def test_folded_normalisation_changes_nothing_but_the_layers(patches):
    torch.manual_seed(5)
    network = VGGishClassifier(VGGish(NARROW), 5)
    initialise(network)
    normalised = NormalisedClassifier(network)
    for norm in normalised.norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    for _ in range(3):  # the running means move away from their start
        normalised(patches)
    normalised.eval()
    with torch.inference_mode():
        expected = normalised(patches)
    folded = normalised.folded().eval()
    with torch.inference_mode():
        torch.testing.assert_close(folded(patches), expected, rtol=1e-4, atol=1e-4)


def test_pooling_early_changes_no_bit_of_outputs_and_gradients(patches, monkeypatch):
    def trained() -> list[torch.Tensor]:
        torch.manual_seed(6)
        network = VGGishClassifier(VGGish(NARROW), 5)
        initialise(network)
        normalised = NormalisedClassifier(network).to(memory_format=torch.channels_last)
        logits = normalised(patches)
        logits.square().sum().backward()
        return [logits, *(p.grad for p in normalised.parameters())]

    early = trained()
    monkeypatch.setattr(vggish, "_pooled_early", list)  # in the order of Table 1
    assert all(map(torch.equal, early, trained()))


def test_normalisation_is_put_around_trained_weights_without_changing_what_they_compute(patches):
    """Of any patches in evaluation mode, and in training mode of those that it was set by."""
    torch.manual_seed(3)
    network = VGGishClassifier(VGGish(NARROW), 3)
    initialise_from_data(network, patches)
    for layer in network.extractor.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.bias)
    others = torch.rand(5, 96, 64)
    with torch.inference_mode():
        expected, of_others = network(patches), network(others)
    normalised = NormalisedClassifier(network)
    normalised.keep_function(patches)
    with torch.inference_mode():
        torch.testing.assert_close(normalised(patches), expected, rtol=0.1, atol=0.05)
        normalised.keep_function(patches)  # the pass above has moved the running statistics
        normalised.eval()
        torch.testing.assert_close(normalised(others), of_others, rtol=1e-4, atol=1e-4)
