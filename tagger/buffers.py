"""Memory for matrix products on a CPU: in large pages, and used again.

A page of 2 MiB saves the processor most look-ups of addresses: 200 MB of weights were read at 16
GB/s instead of 11. Memory that is asked for anew for every result has to be cleared by the kernel
each time, which took a fifth of VGGish's time.
"""

import math
import mmap
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

Plan = TypeVar("Plan")
What = TypeVar("What")

_of_thread = threading.local()


def in_large_pages(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of zeros, in large pages where the kernel has them."""
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
        self._plans: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()

    def __call__(self, name: str, *shape: int) -> Tensor:
        """A tensor that holds until the same name is asked for again; zero where nobody wrote."""
        size = math.prod(shape)
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = in_large_pages(max(size, 1), dtype=self._dtype)
            self._plans.clear()
        return self._buffers[name][:size].view(shape)

    def planned(self, user: object, what: What, plan: Callable[["Scratch", What], Plan]) -> Plan:
        """What ``plan`` makes of ``what`` and these buffers, kept until a buffer is replaced."""
        if what not in self._plans.get(user, {}):
            plan(self, what)  # whatever it asks for is large enough from here on
            self._plans.setdefault(user, {})[what] = plan(self, what)
        found: Plan = self._plans[user][what]
        return found


def scratch_of_thread(dtype: torch.dtype) -> Scratch:
    """The buffers that all networks share which run in this thread, one after the other."""
    found: dict[torch.dtype, Scratch] = _of_thread.__dict__.setdefault("scratch", {})
    return found.setdefault(dtype, Scratch(dtype))
