"""VGGish, the feature extractor (paper section 2.1, Table 1; PAPER.md D6 to D8 and D11).

There are two generations of its output. Until about 2020 TensorFlow's code ended with ReLU, as the
paper's Table 1 does, and as torchvggish, torchaudio and torch_audioset still do; today's TensorFlow
code and model hubs end without an activation. The weights are the same.

Conventions: patches are (n, 96, 64) float32 log-mel, time by band; embeddings are (n, 128). Names
and shapes of the parameters are those of torchvggish (``features.N.*``, ``embeddings.N.*``), so the
published weights load as they are.
"""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from tagger.configs import VGGishConfig
from tagger.logmel import N_BANDS, PATCH_FRAMES
from tagger.schema import EMBEDDING_SIZE

CLASSIFIER_UNITS: Final = 100  # the hidden layer added for fine-tuning, section 2.2


class VGGish(nn.Module):
    """Table 1: 3x3 convolutions with ReLU, 2x2 max pooling, three fully connected layers."""

    def __init__(self, config: VGGishConfig = VGGishConfig()) -> None:
        super().__init__()
        self.config = config
        one, two, three, four = config.conv_widths
        layers: list[nn.Module] = []
        width = 1
        for group in ((one,), (two,), (three, three), (four, four)):
            for out in group:
                layers += [nn.Conv2d(width, out, 3, padding=1), nn.ReLU(inplace=True)]
                width = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        flat = four * (PATCH_FRAMES // 16) * (N_BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(inplace=True),
            nn.Linear(config.hidden, EMBEDDING_SIZE),
            *([nn.ReLU(inplace=True)] if config.embedding_activation == "relu" else []),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Embeddings (n, 128) of patches (n, 96, 64)."""
        maps = self.features(patches.unsqueeze(1))
        # The weights were made channels-last, (n, 6, 4, channels): flatten in that order.
        flat = maps.permute(0, 2, 3, 1).flatten(1)
        embeddings: Tensor = self.embeddings(flat)
        return embeddings


class VGGishClassifier(nn.Module):
    """VGGish, 100 units with ReLU, and the classes: what fine-tuning trains (section 2.2)."""

    def __init__(self, extractor: VGGish, n_classes: int) -> None:
        super().__init__()
        self.extractor = extractor
        self.classifier = nn.Sequential(
            nn.Linear(EMBEDDING_SIZE, CLASSIFIER_UNITS),
            nn.ReLU(inplace=True),
            nn.Linear(CLASSIFIER_UNITS, n_classes),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (n, n_classes) of patches (n, 96, 64), before softmax or sigmoid."""
        logits: Tensor = self.classifier(self.extractor(patches))
        return logits


def initialise(module: nn.Module) -> None:
    """He-normal weights and zero biases, in place, for training from scratch."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


@torch.no_grad()
def initialise_from_data(network: VGGishClassifier, patches: Tensor) -> None:
    """``initialise``, then scale each layer so that its output on ``patches`` has unit variance.

    Layer-sequential unit variance (Mishkin and Matas 2016). The first layer also removes mean and
    scale of the log-mel values, and the last starts small, so that all classes begin alike.

    Parameters
    ----------
    patches : (n, 96, 64) some hundred training patches
    """
    initialise(network)
    first = network.extractor.features[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    x = patches.unsqueeze(1)
    first.weight /= x.std()
    first.bias -= first.weight.sum((1, 2, 3)) * x.mean()
    for layer in network.extractor.features:
        x = _scaled(layer, x)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for layer in [*network.extractor.embeddings, *network.classifier]:
        x = _scaled(layer, x)
    last = network.classifier[-1]
    assert isinstance(last, nn.Linear)
    last.weight *= 0.1


def _scaled(layer: nn.Module, x: Tensor) -> Tensor:
    """The output of a layer, whose weights are first scaled to unit variance of it."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        output: Tensor = layer(x)
        spread = output.std() if isinstance(layer, nn.Conv2d) else output.std(0).mean()
        layer.weight /= spread
        if layer.bias is not None:
            layer.bias /= spread
        return output / spread
    scaled: Tensor = layer(x)
    return scaled


class NormalisedClassifier(nn.Module):
    """A classifier with batch normalisation after every layer of its extractor, for training.

    Table 1 has none, and trained from scratch on little data it learns slowly. Once trained, the
    normalisation is a factor and a summand per channel, which ``folded`` puts into the weights: the
    extractor is that of Table 1 again.
    """

    def __init__(self, network: VGGishClassifier) -> None:
        super().__init__()
        self.network = network
        extractor = network.extractor
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(layer.out_channels)
            if isinstance(layer, nn.Conv2d)
            else nn.BatchNorm1d(layer.out_features)
            for layer in [*extractor.features, *extractor.embeddings]
            if isinstance(layer, nn.Conv2d | nn.Linear)
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Logits (n, n_classes) of patches (n, 96, 64)."""
        norms = iter(self.norms)
        x = patches.unsqueeze(1)
        for layer in _pooled_early(self.network.extractor.features):
            x = next(norms)(layer(x)) if isinstance(layer, nn.Conv2d) else layer(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.network.extractor.embeddings:
            x = next(norms)(layer(x)) if isinstance(layer, nn.Linear) else layer(x)
        logits: Tensor = self.network.classifier(x)
        return logits

    @torch.no_grad()
    def keep_function(self, patches: Tensor) -> None:
        """Set the normalisation so that it changes nothing yet, for going on with trained weights.

        Each layer keeps mean and variance that its output has on ``patches``.

        Parameters
        ----------
        patches : (n, 96, 64) some hundred training patches
        """
        norms = iter(self.norms)
        x = patches.unsqueeze(1)
        for layer in self.network.extractor.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                _restore(next(norms), x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.network.extractor.embeddings:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                _restore(next(norms), x)

    @torch.no_grad()
    def folded(self) -> VGGishClassifier:
        """The network without the normalisation, equal to this one in evaluation mode.

        The weights of the wrapped network are changed in place; this one is of no use afterwards.
        """
        extractor = self.network.extractor
        layers = [
            layer
            for layer in [*extractor.features, *extractor.embeddings]
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]
        for layer, norm in zip(layers, self.norms, strict=True):
            assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert layer.bias is not None
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            layer.weight *= factor.reshape(-1, *[1] * (layer.weight.ndim - 1))
            layer.bias.copy_((layer.bias - norm.running_mean) * factor + norm.bias)
        return self.network


def _pooled_early(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers with each ReLU behind the max pooling that follows it.

    Both keep the order of numbers, so that the result is the same to the bit, its gradients too;
    but ReLU has a quarter of the values to pass over.
    """
    order = list(layers)
    for place, layer in enumerate(order):
        if isinstance(layer, nn.MaxPool2d):
            order[place - 1 : place + 1] = layer, order[place - 1]
    return order


def _restore(norm: nn.Module, x: Tensor) -> None:
    """Make batch normalisation give back what it normalises: ``x``, channels along axis 1."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    of_channels = x.transpose(0, 1).flatten(1)
    norm.running_mean.copy_(of_channels.mean(1))
    norm.running_var.copy_(of_channels.var(1))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(norm.running_mean)
