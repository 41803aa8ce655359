"""VGGish on a CPU, in float32 with a quarter of the multiplications where that pays.

The 3x3 convolutions are over 90 % of VGGish's work. Computed in tiles of 4x4 outputs, a pair of
channels needs 36 multiplications instead of 144: F(4x4, 3x3) of Lavin and Gray, "Fast algorithms
for convolutional neural networks", 2016. Tiles and kernels are transformed, multiplied as 36 matrix
products, and transformed back. Rounding differs from the direct way by some 1e-5 of the embeddings'
size. It needs no compiler, only matrix products.

In bfloat16, for processors that multiply it, the direct way is the faster one, and rounds less.

Conventions: maps are (n, height, width, channels). Those that a convolution reads have a
border of zeros, one wide. Steps write into buffers ("a" and "b" in turn) that all layers share,
and all networks of a thread.
"""

import math
from abc import ABC, abstractmethod
from itertools import cycle, pairwise
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.buffers import Scratch, kept, scratch_of_thread
from tagger.vggish import VGGish

_WORTH_IT: Final = 32 * 64  # pairs of channels from which the transforms are repaid (measured)

_CACHE_BYTES: Final = 1 << 20  # of intermediate maps at a time

_WIDE: Final = torch.backends.cpu.get_cpu_capability() == "AVX512"
_OUTPUTS_AT_ONCE: Final = 32 if _WIDE else 16  # of a fully connected layer: two vectors (measured)
_LEAST_ROWS: Final = 2 if _WIDE else 1  # a single one is multiplied in a slower way there

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
_ONES: Final = 7  # the one of the 36 products that every output of a tile contains once


class FastVGGish:
    """The same function as the network it is made of, for inference on a CPU.

    Parameters
    ----------
    dtype : float32 or bfloat16, in which it computes
    """

    def __init__(self, network: VGGish, dtype: torch.dtype = torch.float32) -> None:
        self._dtype = dtype
        layers = [*network.features, nn.Identity()]
        self._convolutions = [
            _convolution(layer, isinstance(layers[i + 2], nn.MaxPool2d), dtype)
            for i, layer in enumerate(layers)
            if isinstance(layer, nn.Conv2d)
        ]
        dense = _BlockedDense if dtype == torch.float32 else _Dense
        self._dense = [
            dense(layer, isinstance(following, nn.ReLU), dtype)
            for layer, following in pairwise([*network.embeddings, nn.Identity()])
            if isinstance(layer, nn.Linear)
        ]

    @torch.inference_mode()
    def __call__(self, patches: Tensor) -> Tensor:
        """Embeddings (n, 128) of patches (n, 96, 64), which may be of another dtype."""
        scratch = scratch_of_thread(self._dtype)
        n, height, width = patches.shape
        maps = scratch("even maps", n, height + 2, width + 2, 1)
        _within(maps).copy_(patches.unsqueeze(-1))
        for name, convolution in zip(cycle(("odd maps", "even maps")), self._convolutions):
            maps = convolution(maps, name, scratch)
        x = _within(maps).flatten(1)
        for dense in self._dense:
            x = dense(x)
        return x


def _within(maps: Tensor) -> Tensor:
    """The maps within their border, which becomes zero."""
    for border in (maps[:, 0], maps[:, -1], maps[:, :, 0], maps[:, :, -1]):
        border.zero_()
    return maps[:, 1:-1, 1:-1]


def _convolution(layer: nn.Conv2d, pooled: bool, dtype: torch.dtype) -> "_Convolution":
    worth_it = layer.in_channels * layer.out_channels >= _WORTH_IT
    way = _Winograd if worth_it and dtype == torch.float32 else _Direct
    return way(layer, pooled, dtype)


class _Convolution(ABC):
    """A 3x3 convolution with ReLU and, where ``pooled``, 2x2 maximum pooling.

    The maximum comes before ReLU: it is the same, and leaves less for ReLU to do.
    """

    def __init__(self, layer: nn.Conv2d, pooled: bool, dtype: torch.dtype = torch.float32) -> None:
        assert layer.bias is not None
        self._bias = layer.bias.detach().to(dtype)
        self._stride = 2 if pooled else 1

    def __call__(self, maps: Tensor, name: str, scratch: Scratch) -> Tensor:
        """The next layer's maps, in the buffer of that name."""
        n, height, width = maps.shape[0], maps.shape[1] - 2, maps.shape[2] - 2
        k = self._stride
        out = scratch(name, n, height // k + 2, width // k + 2, len(self._bias))
        step = self._patches_at_once(height * width)
        for part, result in zip(
            torch.split(maps, step), torch.split(_within(out), step), strict=True
        ):
            self._convolve(part, result, scratch)
        return out

    @abstractmethod
    def _patches_at_once(self, map_size: int) -> int: ...

    @abstractmethod
    def _convolve(self, maps: Tensor, out: Tensor, scratch: Scratch) -> None:
        """Convolve maps with their border into ``out``, which has none."""


class _Direct(_Convolution):
    def __init__(self, layer: nn.Conv2d, pooled: bool, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(layer, pooled, dtype)
        weight = layer.weight.detach().to(dtype)
        self._weight = weight.contiguous(memory_format=torch.channels_last)

    def _patches_at_once(self, map_size: int) -> int:
        return max(1, _CACHE_BYTES // (4 * map_size * len(self._bias)))

    def _convolve(self, maps: Tensor, out: Tensor, scratch: Scratch) -> None:
        results = _conv2d(maps.permute(0, 3, 1, 2), self._weight, self._bias).permute(0, 2, 3, 1)
        if self._stride > 1:
            n, height, width, channels = results.shape
            halves = results.view(n * height // 2, 2, width // 2, 2, channels)
            results = _maximum(halves, scratch).view(out.shape)
        torch.clamp_min(results, 0, out=out)


def _conv2d(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution by oneDNN also where torch would take a slower way: of one small map."""
    if torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return torch.mkldnn_convolution(maps, weight, bias, (0, 0), (1, 1), (1, 1), 1)
    return functional.conv2d(maps, weight, bias)


class _Winograd(_Convolution):
    def __init__(self, layer: nn.Conv2d, pooled: bool, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(layer, pooled, dtype)
        inputs, kernels, outputs = (
            torch.tensor(matrix, dtype=torch.float64) for matrix in (_INPUTS, _KERNELS, _OUTPUTS)
        )
        self._to_tiles = torch.kron(inputs, inputs).float()  # (36, 36)
        self._from_tiles = torch.kron(outputs, outputs).float()  # (16, 36)
        weight = layer.weight.detach().double()
        spread = torch.einsum("ri,oaij,cj->rcao", kernels, weight, kernels)
        self._kernels = kept(spread.flatten(0, 1).float())  # (36, in, out)

    def _patches_at_once(self, map_size: int) -> int:
        """Transformed maps as large as the transformed kernels: both pass through the cache."""
        n_values, n_in, n_out = self._kernels.shape
        one = 4 * n_values * (map_size // _TILE**2) * (n_in + n_out)
        return max(1, max(_CACHE_BYTES, 4 * self._kernels.numel()) // one)

    def _convolve(self, maps: Tensor, out: Tensor, scratch: Scratch) -> None:
        n, height, width, n_in = maps.shape
        rows, columns = height // _TILE, width // _TILE
        n_tiles, n_out = n * rows * columns, len(self._bias)
        by_map, by_row, by_column, _ = maps.stride()
        tiles = scratch("a", 6, 6, n, rows, columns, n_in)
        strides = (by_row, by_column, by_map, _TILE * by_row, _TILE * by_column, 1)
        tiles.copy_(maps.as_strided(tiles.shape, strides, maps.storage_offset()))  # they overlap
        spread = scratch("b", 36, n_tiles * n_in)
        torch.mm(self._to_tiles, tiles.view(36, -1), out=spread)
        products = scratch("a", 36, n_tiles, n_out)
        torch.bmm(spread.view(36, n_tiles, n_in), self._kernels, out=products)
        products[_ONES] += self._bias
        results = scratch("b", 16, n_tiles * n_out)
        torch.mm(self._from_tiles, products.view(36, -1), out=results)
        k = _TILE // self._stride
        if self._stride > 1:
            results = _maximum(results.view(k, 2, k, 2, -1), scratch)
        results = results.view(k, k, n, rows, columns, n_out).permute(2, 3, 0, 4, 1, 5)
        torch.clamp_min(results, 0, out=out.view(n, rows, k, columns, k, n_out))


def _maximum(x: Tensor, scratch: Scratch) -> Tensor:
    """Maximum over axes 1 and 3, each of length 2."""
    rows, _, columns, _, size = x.shape
    first = scratch("a", rows, columns, 2, size)
    torch.maximum(x[:, 0], x[:, 1], out=first)
    return torch.maximum(first[:, :, 0], first[:, :, 1], out=scratch("b", rows, columns, size))


class _Dense:
    """A fully connected layer, with ReLU where ``relu``."""

    def __init__(self, layer: nn.Linear, relu: bool, dtype: torch.dtype = torch.float32) -> None:
        self._weight = self._laid_out(layer.weight.detach().to(dtype))
        self._bias = layer.bias.detach().to(dtype)
        self._relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        results = self._multiplied(x)
        return results.relu_() if self._relu else results

    def _laid_out(self, weight: Tensor) -> Tensor:
        return kept(weight)

    def _multiplied(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)


class _BlockedDense(_Dense):
    """The same with its weights in blocks of some outputs, (blocks, in, outputs of a block).

    So they are read as they lie; in the usual order the product first copies them, which takes a
    small batch as long again.
    """

    def _laid_out(self, weight: Tensor) -> Tensor:
        n_out, n_in = weight.shape
        return kept(weight.view(-1, math.gcd(n_out, _OUTPUTS_AT_ONCE), n_in).transpose(1, 2))

    def _multiplied(self, x: Tensor) -> Tensor:
        n_blocks, _, n_outputs = self._weight.shape
        n = len(x)
        x = x.expand(n_blocks, _LEAST_ROWS if n == 1 else n, -1)
        results = torch.baddbmm(self._bias.view(n_blocks, 1, n_outputs), x, self._weight)
        return results[:, :n].transpose(0, 1).flatten(1)
