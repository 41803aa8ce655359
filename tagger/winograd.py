"""VGGish on a CPU, in float32 with a quarter of the multiplications where that pays.

The 3x3 convolutions are over 90 % of VGGish's work. Computed in tiles of 4x4 outputs, a pair of
channels needs 36 multiplications instead of 144: F(4x4, 3x3) of Lavin and Gray, "Fast algorithms
for convolutional neural networks", 2016. Tiles and kernels are transformed, multiplied as 36 matrix
products, and transformed back. Rounding differs from the direct way by some 1e-5 of the embeddings'
size. It needs no compiler, only matrix products.

In bfloat16, for processors that multiply it, the direct way is the faster one, and rounds less.

Conventions: maps are (n, height, width, channels) with a border of zeros, one wide, for the next
convolution to read. They and all intermediate results lie in buffers that the networks of a thread
share: layers take "a" and "b" in turn. What is done to a batch of a size is planned once, as steps
upon these buffers, and repeated for each batch.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.buffers import Scratch, kept, scratch_of_thread
from tagger.dense import dense
from tagger.vggish import VGGish

_WORTH_IT: Final = 32 * 64  # pairs of channels from which the transforms are repaid (measured)

_PATCHES_PER_PASS: Final = 32  # through the convolutions (measured)
_BYTES_AT_ONCE: Final = 12  # in one step, of each value of a map, at least: three in float32

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


Step = Callable[[], object]


class _Plan(NamedTuple):
    """What is done to batches of a size: fill ``patches``, take all steps, read ``maps``."""

    patches: Tensor
    steps: list[Step]
    maps: Tensor


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
        self._dense = [
            dense(layer, isinstance(following, nn.ReLU), dtype)
            for layer, following in pairwise([*network.embeddings, nn.Identity()])
            if isinstance(layer, nn.Linear)
        ]

    @torch.inference_mode()
    def __call__(self, patches: Tensor) -> Tensor:
        """Embeddings (n, 128) of patches (n, 96, 64), which may be of another dtype."""
        n_passes = max(1, math.ceil(len(patches) / _PATCHES_PER_PASS))
        parts = [self._convolved(part) for part in patches.tensor_split(n_passes)]
        x = torch.cat(parts) if len(parts) > 1 else parts[0]
        for layer in self._dense:
            x = layer(x)
        return x

    def _convolved(self, patches: Tensor) -> Tensor:
        """What the convolutions make of some patches, (n, values)."""
        scratch = scratch_of_thread(self._dtype)
        plan = scratch.planned(self, patches.shape, self._planned)
        plan.patches.copy_(patches)
        for step in plan.steps:
            step()
        return plan.maps.flatten(1)

    def _planned(self, scratch: Scratch, shape: torch.Size) -> _Plan:
        maps = first = _bordered(scratch, "patches", *shape, 1)
        steps: list[Step] = []
        for i, convolution in enumerate(self._convolutions):
            maps = convolution.plan(maps, f"layer {i}", scratch, steps)
        return _Plan(_within(first).squeeze(-1), steps, _within(maps))


def _bordered(scratch: Scratch, name: str, *shape: int) -> Tensor:
    """Maps (n, height, width, channels) with their border, which nobody writes: it stays zero."""
    n, height, width, channels = shape
    return scratch(f"{name}, {height}x{width}x{channels}", n, height + 2, width + 2, channels)


def _within(maps: Tensor) -> Tensor:
    """The maps within their border."""
    return maps[:, 1:-1, 1:-1]


def _convolution(layer: nn.Conv2d, pooled: bool, dtype: torch.dtype) -> "_Convolution":
    worth_it = layer.in_channels * layer.out_channels >= _WORTH_IT
    way = _Winograd if worth_it and dtype == torch.float32 else _Direct
    return way(layer, pooled, dtype)


class _Convolution(ABC):
    """A 3x3 convolution with ReLU and, where ``pooled``, 2x2 maximum pooling."""

    def __init__(self, layer: nn.Conv2d, pooled: bool, dtype: torch.dtype = torch.float32) -> None:
        assert layer.bias is not None
        self._n_in, self._n_out = layer.in_channels, layer.out_channels
        self._bias = layer.bias.detach().to(dtype)
        self._stride = 2 if pooled else 1

    def plan(self, maps: Tensor, name: str, scratch: Scratch, steps: list[Step]) -> Tensor:
        """The next layer's maps, in the buffer of that name, and the steps that make them."""
        n, height, width = maps.shape[0], maps.shape[1] - 2, maps.shape[2] - 2
        k = self._stride
        out = _bordered(scratch, name, n, height // k, width // k, self._n_out)
        at_once = self._patches_at_once(height * width)
        for part, result in zip(
            torch.split(maps, at_once), torch.split(_within(out), at_once), strict=True
        ):
            steps.extend(self._steps(part, result, scratch))
        return out

    def _patches_at_once(self, map_size: int) -> int:
        """As many as make transformed maps as large as transformed kernels (measured)."""
        n_weights = _TILE**2 * self._n_in * self._n_out
        least = _BYTES_AT_ONCE // self._bias.itemsize
        return max(least, n_weights // (map_size * (self._n_in + self._n_out)))

    @abstractmethod
    def _steps(self, maps: Tensor, out: Tensor, scratch: Scratch) -> Iterator[Step]:
        """The steps that convolve maps with their border into ``out``, which has none."""


class _Direct(_Convolution):
    def __init__(self, layer: nn.Conv2d, pooled: bool, dtype: torch.dtype = torch.float32) -> None:
        super().__init__(layer, pooled, dtype)
        self._convolve = _convolve(layer.weight.detach().to(dtype), self._bias)

    def _steps(self, maps: Tensor, out: Tensor, scratch: Scratch) -> Iterator[Step]:
        maps, out = maps.permute(0, 3, 1, 2), out.permute(0, 3, 1, 2)
        if self._stride == 1:
            yield lambda: out.copy_(self._convolve(maps))
            return

        def convolve_and_pool() -> None:
            results = self._convolve(maps)
            rows = results[:, :, ::2]
            torch.maximum(rows, results[:, :, 1::2], out=rows)
            torch.maximum(rows[..., ::2], rows[..., 1::2], out=out)

        yield convolve_and_pool


def _convolve(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """Convolution with ReLU of maps (n, channels, height, width) that have their border.

    oneDNN does both at once, with weights that were laid out for it beforehand.
    """
    if not _by_onednn(weight.dtype):
        return lambda maps: functional.conv2d(maps, weight, bias).relu_()
    geometry = (0, 0), (1, 1), (1, 1), 1
    packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, None)
    convolve = torch.ops.mkldnn._convolution_pointwise.default
    return lambda maps: convolve(maps, packed, bias, *geometry, "relu", [], "")


def _by_onednn(dtype: torch.dtype) -> bool:
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())


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

    def _steps(self, maps: Tensor, out: Tensor, scratch: Scratch) -> Iterator[Step]:
        n, height, width, n_in = maps.shape
        rows, columns = height // _TILE, width // _TILE
        n_tiles, n_out = n * rows * columns, self._n_out
        by_map, by_row, by_column, _ = maps.stride()
        tiles = scratch("a", 6, 6, n, rows, columns, n_in)
        strides = (by_row, by_column, by_map, _TILE * by_row, _TILE * by_column, 1)
        overlapping = maps.as_strided(tiles.shape, strides, maps.storage_offset())
        yield partial(tiles.copy_, overlapping)
        spread = scratch("b", 36, n_tiles * n_in)
        yield partial(torch.mm, self._to_tiles, tiles.view(36, -1), out=spread)
        products = scratch("a", 36, n_tiles, n_out)
        yield partial(torch.bmm, spread.view(36, n_tiles, n_in), self._kernels, out=products)
        yield partial(products[_ONES].add_, self._bias)
        results = scratch("b", 16, n_tiles * n_out)
        yield partial(torch.mm, self._from_tiles, products.view(36, -1), out=results)
        k = _TILE // self._stride
        if self._stride > 1:
            pairs = results.view(k, 2, k, 2, -1)
            first = pairs[:, 0]
            yield partial(torch.maximum, first, pairs[:, 1], out=first)
            results = first[:, :, 0]
            yield partial(torch.maximum, results, first[:, :, 1], out=results)
        results = results.view(k, k, n, rows, columns, n_out).permute(2, 3, 0, 4, 1, 5)
        yield partial(torch.clamp_min, results, 0, out=out.view(n, rows, k, columns, k, n_out))
