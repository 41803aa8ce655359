"""VGGish on a CPU in float32, with a quarter of the multiplications where that pays.

The 3x3 convolutions are over 90 % of VGGish's work. Computed in tiles of 4x4 outputs, a pair of
channels needs 36 multiplications instead of 144: F(4x4, 3x3) of Lavin and Gray, "Fast algorithms
for convolutional neural networks", 2016. Tiles and kernels are transformed, multiplied as 36 matrix
products, and transformed back. Rounding differs from the direct way by some 1e-5 of the embeddings'
size. It needs no compiler, only matrix products.

Conventions: maps are (n, height, width, channels) float32, contiguous.
"""

from abc import ABC, abstractmethod
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.vggish import VGGish

_WORTH_IT: Final = 64 * 128  # pairs of channels from which the transforms are repaid (measured)
_CACHE_BYTES: Final = 6 << 20  # of intermediate maps at a time

_TILE: Final = 4  # outputs of a tile along each axis; it reads 6 inputs
_INPUTS: Final = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNELS: Final = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
_OUTPUTS: Final = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class FastVGGish:
    """The same function as the network it is made of, for inference on a CPU."""

    def __init__(self, network: VGGish) -> None:
        layers = [*network.features, nn.Identity()]
        self._convolutions = [
            _convolution(layer, pooled=isinstance(layers[i + 2], nn.MaxPool2d))
            for i, layer in enumerate(layers)
            if isinstance(layer, nn.Conv2d)
        ]
        self._embeddings = network.embeddings

    @torch.inference_mode()
    def __call__(self, patches: Tensor) -> Tensor:
        """Embeddings (n, 128) of patches (n, 96, 64)."""
        maps = patches.unsqueeze(-1)
        for convolution in self._convolutions:
            maps = convolution(maps)
        embeddings: Tensor = self._embeddings(maps.flatten(1))
        return embeddings


def _convolution(layer: nn.Conv2d, pooled: bool) -> "_Convolution":
    worth_it = layer.in_channels * layer.out_channels >= _WORTH_IT
    return (_Winograd if worth_it else _Direct)(layer, pooled)


class _Convolution(ABC):
    """A 3x3 convolution with ReLU and, where ``pooled``, 2x2 maximum pooling.

    The maximum comes first: it is the same, and leaves less for bias and ReLU to do.
    """

    def __init__(self, layer: nn.Conv2d, pooled: bool) -> None:
        assert layer.bias is not None
        self._bias = layer.bias.detach()
        self._stride = 2 if pooled else 1

    def __call__(self, maps: Tensor) -> Tensor:
        n, height, width, _ = maps.shape
        size = (n, height // self._stride, width // self._stride, len(self._bias))
        out = maps.new_empty(size)
        step = self._patches_at_once(height * width)
        for part, result in zip(torch.split(maps, step), torch.split(out, step), strict=True):
            self._convolve(part, result)
        return out.add_(self._bias).relu_()

    @abstractmethod
    def _patches_at_once(self, map_size: int) -> int: ...

    @abstractmethod
    def _convolve(self, maps: Tensor, out: Tensor) -> None:
        """Convolve without bias and pool, into ``out``."""


class _Direct(_Convolution):
    def __init__(self, layer: nn.Conv2d, pooled: bool) -> None:
        super().__init__(layer, pooled)
        self._kernels = layer.weight.detach().contiguous(memory_format=torch.channels_last)

    def _patches_at_once(self, map_size: int) -> int:
        return max(1, _CACHE_BYTES // (4 * map_size * len(self._bias)))

    def _convolve(self, maps: Tensor, out: Tensor) -> None:
        results = functional.conv2d(maps.permute(0, 3, 1, 2), self._kernels, padding=1)
        if self._stride > 1:
            results = functional.max_pool2d(results, self._stride)
        out.copy_(results.permute(0, 2, 3, 1))


class _Winograd(_Convolution):
    def __init__(self, layer: nn.Conv2d, pooled: bool) -> None:
        super().__init__(layer, pooled)
        inputs, kernels, outputs = (
            torch.tensor(matrix, dtype=torch.float64) for matrix in (_INPUTS, _KERNELS, _OUTPUTS)
        )
        self._to_tiles = torch.kron(inputs, inputs).float()  # (36, 36)
        self._from_tiles = torch.kron(outputs, outputs).float()  # (16, 36)
        weight = layer.weight.detach().double()
        spread = torch.einsum("ri,oaij,cj->rcao", kernels, weight, kernels)
        self._kernels = spread.flatten(0, 1).float().contiguous()  # (36, in, out)

    def _patches_at_once(self, map_size: int) -> int:
        """Transformed maps as large as the transformed kernels: both pass through the cache."""
        n_values, n_in, n_out = self._kernels.shape
        one = 4 * n_values * (map_size // _TILE**2) * (n_in + n_out)
        return max(1, max(_CACHE_BYTES, 4 * self._kernels.numel()) // one)

    def _convolve(self, maps: Tensor, out: Tensor) -> None:
        padded = functional.pad(maps, (0, 0, 1, 1, 1, 1))
        n, height, width, channels = maps.shape
        rows, columns = height // _TILE, width // _TILE
        by_map, by_row, by_column, _ = padded.stride()
        tiles = padded.as_strided(  # neighbours overlap by two inputs
            (6, 6, n, rows, columns, channels),
            (by_row, by_column, by_map, _TILE * by_row, _TILE * by_column, 1),
        )
        spread = (self._to_tiles @ tiles.reshape(36, -1)).view(36, -1, channels)
        products = torch.bmm(spread, self._kernels)
        results = self._from_tiles @ products.view(36, -1)
        k = _TILE // self._stride
        results = results.view(k, self._stride, k, self._stride, -1)
        if self._stride > 1:
            results = _maximum(results)
        results = results.view(k, k, n, rows, columns, -1).permute(2, 3, 0, 4, 1, 5)
        out.view(n, rows, k, columns, k, -1).copy_(results)


def _maximum(x: Tensor) -> Tensor:
    """Maximum over axes 1 and 3, each of length 2."""
    return torch.maximum(
        torch.maximum(x[:, 0, :, 0], x[:, 0, :, 1]), torch.maximum(x[:, 1, :, 0], x[:, 1, :, 1])
    )
