"""Pieces of the embeddings compared with what is asked for: in threads here, or on Ray."""

import math
import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Final

import pyarrow as pa

from pipelines.runtime import cluster
from pipelines.runtime.limits import Resources
from pipelines.runtime.progress import Progress
from pipelines.runtime.work import ALONE_S, fits_one_process
from pipelines.searching.scan import FOUND, Asked, Piece, best, scan
from pipelines.storage.parallel import N_REQUESTS
from pipelines.storage.store import LocalStore, Store

ROWS_PER_CPU_S: Final = 500_000
"""Rows of the table embeddings that a core compares in a second (``benchmarks.search``)."""


def best_segments(
    store: Store, asked: Asked, pieces: Sequence[Piece], resources: Resources
) -> pa.Table:
    """The best segments of all pieces, best first; schema ``FOUND``.

    Raises
    ------
    FileNotFoundError : a file of the tables went meanwhile
    CommandError : one is damaged
    AccessDenied, StoreUnavailable : the store gave out
    ClusterLost, NodesMissing : the Ray cluster did
    """
    found = FOUND.empty_table()
    n_done, n_rows = 0, sum(piece.n_rows for piece in pieces)
    with (
        Progress("searching", "embeddings", n_rows) as progress,
        closing(_each(store, asked, pieces, resources)) as each,
    ):
        for piece, of_piece in each:
            found = best([found, of_piece], asked)
            n_done += piece.n_rows
            progress.show(n_done)
    return found


def _each(
    store: Store, asked: Asked, pieces: Sequence[Piece], resources: Resources
) -> Generator[tuple[Piece, pa.Table]]:
    """Every piece with its best segments."""
    cpu_s = sum(piece.n_rows for piece in pieces) / ROWS_PER_CPU_S
    if fits_one_process(resources, cpu_s):
        pool = ThreadPoolExecutor(_n_threads(store), thread_name_prefix="search")
        try:
            yield from zip(pieces, pool.map(partial(scan, store, asked), pieces), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)
        return
    cluster.connect(replace(resources, gpus=0), math.ceil(cpu_s / ALONE_S))
    from pipelines.searching.on_ray import scan_all

    yield from scan_all(store, asked, pieces)


def _n_threads(store: Store) -> int:
    """As many as there are cores; for a store that answers slowly, more."""
    n_cores = len(os.sched_getaffinity(0))
    return n_cores if isinstance(store, LocalStore) else max(n_cores, N_REQUESTS)
