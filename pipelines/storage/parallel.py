"""Several requests to a store at a time."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
S = TypeVar("S")

N_REQUESTS: Final = 8


def in_parallel(function: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Apply to all, ``N_REQUESTS`` at a time; results in order."""
    with ThreadPoolExecutor(N_REQUESTS) as pool:
        return list(pool.map(function, items))
