"""Memory for matrix products on a CPU: in large pages, and used again.

A page of 2 MiB saves the processor most look-ups of addresses: 200 MB of weights were read at 16
GB/s instead of 11. Memory that is asked for anew for every result has to be cleared by the kernel
each time, which took a fifth of VGGish's time.
"""

import math
import mmap
import threading
from contextlib import suppress

import torch
from torch import Tensor

_of_thread = threading.local()


def in_large_pages(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor with unknown content, in large pages where the kernel has them."""
    n_bytes = dtype.itemsize * math.prod(shape)
    memory = mmap.mmap(-1, max(n_bytes, mmap.PAGESIZE), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(AttributeError, OSError):  # another system, or a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=math.prod(shape)).view(shape)


def kept(values: Tensor) -> Tensor:
    """A copy that is read often, contiguous."""
    return in_large_pages(*values.shape, dtype=values.dtype).copy_(values)


class Scratch:
    """Named buffers for intermediate results, each as large as the largest that was asked for."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._buffers: dict[str, Tensor] = {}

    def __call__(self, name: str, *shape: int) -> Tensor:
        """A tensor with unknown content; it holds until the same name is asked for again."""
        size = math.prod(shape)
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = in_large_pages(max(size, 1), dtype=self._dtype)
        return self._buffers[name][:size].view(shape)


def scratch_of_thread(dtype: torch.dtype) -> Scratch:
    """The buffers that all networks share which run in this thread, one after the other."""
    found: dict[torch.dtype, Scratch] = _of_thread.__dict__.setdefault("scratch", {})
    return found.setdefault(dtype, Scratch(dtype))
