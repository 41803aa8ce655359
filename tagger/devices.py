"""On which device, in which arithmetic and by which code extractors run."""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from tagger.configs import Precision, VGGishConfig
from tagger.vggish import VGGish
from tagger.winograd import FastVGGish

_SMALL: Final = VGGishConfig((16, 32, 64, 128), 256)  # for a measurement
_DTYPES: Final = (torch.float32, torch.bfloat16)


def pick_device() -> str:
    """``cuda`` where this process sees a GPU, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_precision(device: str, asked: Precision | None = None) -> Precision:
    """The arithmetic of extractors on a device.

    Parameters
    ----------
    asked : None: ``bfloat16`` on GPUs that compute in it, else ``float32``, so that an archive's
        embeddings do not depend on which CPU made them. On a CPU ``bfloat16`` becomes ``float32``
        where that is as fast.
    """
    if device == "cuda":
        return asked or ("bfloat16" if torch.cuda.is_bf16_supported() else "float32")
    return "bfloat16" if asked == "bfloat16" and bfloat16_pays() else "float32"


def bfloat16_pays() -> bool:
    """Whether this CPU multiplies in bfloat16, and a measurement finds it faster."""
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return False
    network, patches = VGGish(_SMALL), torch.zeros(8, 96, 64)
    seconds = [_seconds(FastVGGish(network, dtype), patches) for dtype in _DTYPES]
    return seconds[0] > seconds[1]


def _seconds(network: FastVGGish, patches: Tensor) -> float:
    """CPU time of the faster of two calls, after one to begin with."""
    times = [time.process_time()]
    for _ in range(3):
        network(patches)
        times.append(time.process_time())
    return float(min(np.diff(times)[1:]))


def for_inference(
    network: VGGish, device: torch.device, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """The fastest function from patches (n, 96, 64) to an extractor's embeddings (n, 128).

    Both of ``dtype`` on ``device``. On a CPU it is ``FastVGGish``; ``benchmarks/embedding.py``
    holds what else was tried.
    """
    if device.type == "cpu":
        return FastVGGish(network, dtype)
    network = network.to(device, dtype)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
