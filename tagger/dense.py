"""Fully connected layers for inference on a CPU, their weights laid out as products read them."""

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tagger.buffers import kept

_LARGE: Final = 1 << 20  # weights that do not stay in the cache
_WIDE: Final = torch.backends.cpu.get_cpu_capability() == "AVX512"
_OUTPUTS_AT_ONCE: Final = 32 if _WIDE else 16  # two vectors (measured)
_LEAST_ROWS: Final = 2 if _WIDE else 1  # a single one is multiplied in a slower way there


def dense(layer: nn.Linear, relu: bool, dtype: torch.dtype) -> "Dense":
    """The layer in the way that suits its size."""
    large = layer.weight.numel() > _LARGE
    way = BlockedDense if large and dtype == torch.float32 else Dense
    return way(layer, relu, dtype)


class Dense:
    """A fully connected layer, with ReLU where ``relu``."""

    def __init__(self, layer: nn.Linear, relu: bool, dtype: torch.dtype = torch.float32) -> None:
        self._weight = self._laid_out(layer.weight.detach().to(dtype))
        self._bias = layer.bias.detach().to(dtype)
        self._relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        results = self._multiplied(x)
        return results.relu_() if self._relu else results

    def _laid_out(self, weight: Tensor) -> Tensor:
        if weight.dtype == torch.bfloat16:
            return kept(weight)
        return kept(weight.t()).t()  # (measured)

    def _multiplied(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight, self._bias)


class BlockedDense(Dense):
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
        x = x.repeat(_LEAST_ROWS, 1) if n == 1 else x
        bias = self._bias.view(n_blocks, 1, n_outputs)
        results = torch.baddbmm(bias, x.expand(n_blocks, -1, -1), self._weight)
        return results[:, :n].transpose(0, 1).flatten(1)
