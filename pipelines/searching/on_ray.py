"""A search on Ray: a task for each piece of the tables."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipelines.runtime.ray_errors import plain_errors
from pipelines.searching.scan import Asked, Piece, scan
from pipelines.storage.store import Store


def scan_all(
    store: Store, asked: Asked, pieces: Sequence[Piece]
) -> Iterator[tuple[Piece, pa.Table]]:
    """Each piece with its best segments, as they come in; Ray is joined already."""
    import ray

    task = ray.remote(num_cpus=1)(_scan)
    with plain_errors():
        shared = ray.put((store, asked))
        under_way = {task.remote(shared, piece): piece for piece in pieces}
        while under_way:
            (ended,), _ = ray.wait([*under_way])
            yield under_way.pop(ended), ray.get(ended)


def _scan(shared: tuple[Store, Asked], piece: Piece) -> pa.Table:
    return scan(*shared, piece)
