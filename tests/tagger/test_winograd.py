"""VGGish made faster is still VGGish (paper Table 1)."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tagger.buffers import Scratch, scratch_of_thread
from tagger.configs import VGGishConfig
from tagger.winograd import FastVGGish, _Direct, _Winograd

GENERATOR = torch.Generator().manual_seed(0)


def some_patches(n: int) -> torch.Tensor:
    """(n, 96, 64) in the range of log-mel values."""
    return torch.empty(n, 96, 64).uniform_(-4.6, 4.8, generator=GENERATOR)


@pytest.mark.parametrize(
    ("config", "n"),
    [
        (VGGishConfig(), 3),
        (VGGishConfig((64, 128, 256, 512), 64, "none"), 9),
        (VGGishConfig((16, 32, 64, 128), 256), 70),
        (VGGishConfig((2, 3, 5, 7), 11), 1),
    ],
)
@torch.inference_mode()
def test_embeddings_equal_those_of_the_plain_network(make_extractor, config, n):
    """Within 1e-4 of embeddings whose spread is 1."""
    network = make_extractor(config)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.normal_(0, 0.1)
    patches = some_patches(n)
    last = network.embeddings[4]
    spread = network(patches).std()
    last.weight /= spread
    last.bias /= spread
    expected = network(patches)
    torch.testing.assert_close(FastVGGish(network)(patches), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(network(patches), expected, rtol=0, atol=0)  # left as it was


@pytest.mark.parametrize("n", [1, 5])
@torch.inference_mode()
def test_in_bfloat16_embeddings_are_as_close_as_those_of_torch_in_bfloat16(make_extractor, n):
    """Twice the error at most, on processors that compute in it and on those that do not."""
    network = make_extractor(VGGishConfig((8, 32, 64, 64), 32))
    patches = some_patches(n)
    expected = network(patches)
    found = FastVGGish(network, torch.bfloat16)(patches)
    by_torch = copy.deepcopy(network).bfloat16()(patches.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 2 * (by_torch - expected).abs().max()


@pytest.mark.parametrize("kind", [_Direct, _Winograd])
@given(
    pooled=st.booleans(),
    n=st.integers(1, 5),
    tiles=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 999),
)
@settings(max_examples=30, deadline=None)
@torch.inference_mode()
def test_a_convolution_equals_the_direct_one(kind, pooled, n, tiles, channels, seed):
    torch.manual_seed(seed)
    layer = nn.Conv2d(*channels, 3, padding=1)
    maps = torch.randn(n, channels[0], 4 * tiles[0], 4 * tiles[1])
    expected = layer.double()(maps.double()).relu()
    if pooled:
        expected = nn.functional.max_pool2d(expected, 2)
    bordered = nn.functional.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    steps = []
    found = kind(layer.float(), pooled).plan(bordered, "result", Scratch(torch.float32), steps)
    for _ in range(2):  # as often as one likes
        for step in steps:
            step()
        within = found[:, 1:-1, 1:-1].permute(0, 3, 1, 2)
        np.testing.assert_allclose(within, expected, atol=1e-5)
        assert found.count_nonzero() == within.count_nonzero(), "the border is zero"


@torch.inference_mode()
def test_patches_do_not_depend_on_those_beside_them(make_extractor):
    """However many pass through the cache at once; rounding apart."""
    fast = FastVGGish(make_extractor(VGGishConfig((8, 64, 128, 128), 16)))
    patches = some_patches(23)
    together = fast(patches)
    alone = torch.cat([fast(patch[None]) for patch in patches])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-4 * together.std().item())


def test_the_way_is_chosen_by_the_channels(make_extractor):
    """The transforms are repaid from 32 x 64 pairs of channels on."""
    paper = FastVGGish(make_extractor(VGGishConfig(hidden=8)))
    kinds = [type(convolution) for convolution in paper._convolutions]
    assert kinds == [_Direct] + 5 * [_Winograd]
    narrow = FastVGGish(make_extractor(VGGishConfig((16, 32, 64, 128), 8)))
    kinds = [type(convolution) for convolution in narrow._convolutions]
    assert kinds == 2 * [_Direct] + 4 * [_Winograd]


@torch.inference_mode()
def test_threads_do_not_disturb_each_other(make_extractor):
    """Each has buffers of its own, and batches of any sizes may follow each other in them."""
    fast = FastVGGish(make_extractor(VGGishConfig((4, 32, 64, 64), 16)))
    batches = [some_patches(n) for n in (1, 9, 2, 30, 5, 1)]
    alone = [fast(patches) for patches in batches]
    with ThreadPoolExecutor(3) as threads:
        for expected, found in zip(alone * 5, threads.map(fast, batches * 5), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=0)


@torch.inference_mode()
def test_networks_of_a_thread_share_buffers_and_disturb_nobody(make_extractor):
    """Embeddings stay as they are while another network runs, and the other takes no memory."""
    networks = [make_extractor(VGGishConfig((4, 32, 64, 64), hidden)) for hidden in (8, 16)]
    first, second = map(FastVGGish, networks)
    patches = some_patches(9)
    found = first(patches)
    before = scratch_of_thread(torch.float32)("a", 1).data_ptr()
    torch.testing.assert_close(second(patches), networks[1](patches), rtol=0, atol=1e-4)
    torch.testing.assert_close(found, networks[0](patches), rtol=0, atol=1e-4)
    assert scratch_of_thread(torch.float32)("a", 1).data_ptr() == before
