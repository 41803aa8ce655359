"""Fully connected layers, however their weights lie."""

import pytest
import torch
from torch import nn

from tagger.dense import BlockedDense, Dense, dense

GENERATOR = torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", [Dense, BlockedDense])
@pytest.mark.parametrize("n_outputs", [1, 3, 16, 96])
@pytest.mark.parametrize("n", [1, 2, 7])
@torch.inference_mode()
def test_a_fully_connected_layer_equals_that_of_torch(kind, n, n_outputs):
    layer = nn.Linear(24, n_outputs)
    x = torch.randn(n, 24, generator=GENERATOR)
    torch.testing.assert_close(kind(layer, relu=False)(x), layer(x))
    torch.testing.assert_close(kind(layer, relu=True)(x), layer(x).relu())


def test_large_layers_in_float32_are_read_in_blocks():
    large, small = nn.Linear(1024, 1025), nn.Linear(1024, 128)
    kinds = {
        (layer, dtype): type(dense(layer, False, dtype))
        for layer in (large, small)
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert [*kinds.values()] == [BlockedDense, Dense, Dense, Dense]
