"""How much is taken of an answer, and how slowly it may come."""

import asyncio
from collections.abc import AsyncIterable, Callable
from typing import Final

from pipelines.storage.errors import BrokeOff, TooMuch

ANSWER_S: Final = 30.0  # without a byte from the store, after which a request is repeated
LEAST_BYTES_PER_S: Final = 16_384
"""Slower answers are given up: an archive's slowest line brings several times as much."""
LONGEST_S: Final = 4 * 3600.0  # for one file, however large: Ray gives a batch up after six hours


async def take(
    chunks: AsyncIterable[bytes], most_bytes: int, write: Callable[[bytes], object], skip: int = 0
) -> int:
    """Pass the bytes of an answer on to ``write``, as they come; returns how many.

    Parameters
    ----------
    most_bytes : to pass on
    skip : bytes in front that are not passed on

    Raises
    ------
    TooMuch : there are more
    BrokeOff : they come slower than ``LEAST_BYTES_PER_S``, the first ``ANSWER_S`` apart, or take
        longer than ``LONGEST_S``
    """
    n_bytes = -skip
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(ANSWER_S) as limit:
            async for chunk in chunks:
                fresh = chunk[-n_bytes:] if n_bytes < 0 else chunk
                n_bytes += len(chunk)
                if n_bytes > most_bytes:
                    raise TooMuch(f"more than {most_bytes:,} bytes")
                if n_bytes > 0:
                    write(fresh)
                allowed_s = ANSWER_S + (n_bytes + skip) / LEAST_BYTES_PER_S
                limit.reschedule(began + min(allowed_s, LONGEST_S))
    except TimeoutError as error:
        seconds = clock() - began
        raise BrokeOff(f"{n_bytes + skip:,} bytes in {seconds:.0f} s: too slow") from error
    return n_bytes
