"""The embeddings of a work folder, ``embeddings/<extractor>/<weights>/<copies>/``.

One shard of ``EMBEDDINGS`` for each shard of patches. ``<weights>`` are the first digits of the
sha256 of the extractor's weights: one that is trained anew under its old name has embeddings of its
own. ``<copies>`` is how many copies of each clip were embedded at most, or ``all``.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.storage.store import Store
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.patches import TAKE_COLUMNS, Prepared
from pipelines.training.workfolder.shards import read_table, shard_path
from pipelines.training.workfolder.takes import LoadedTakes, ShardTakes, join
from tagger.arrays import IndexArray
from tagger.errors import CommandError
from tagger.schema import EMBEDDING_SIZE

EMBEDDINGS: Final = pa.schema(
    [
        *TAKE_COLUMNS,
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("segment", pa.int32(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), EMBEDDING_SIZE), nullable=False),
    ]
)
ALL_COPIES: Final = "all"


def folder(store: Store, extractor: str, copies: int | None) -> str:
    """Where the embeddings by an extractor lie, of at most so many copies; None: of all."""
    return f"{_of_extractor(store, extractor)}/{ALL_COPIES if copies is None else copies}"


def finished_folder(prepared: Prepared, extractor: str, copies: int) -> str:
    """A folder that holds an extractor's embeddings of all clips and of so many copies at least.

    Raises
    ------
    CommandError : the extractor was not embedded, or not with so many copies
    """
    parent = _of_extractor(prepared.store, extractor)
    n_shards = Counter(path.split("/")[-2] for path in prepared.store.list(parent))
    for part in sorted(n_shards):
        enough = part == ALL_COPIES or int(part) >= copies
        if enough and n_shards[part] == prepared.n_shards:
            return f"{parent}/{part}"
    raise CommandError(
        f"{prepared.store.root}: extractor {extractor!r} is not embedded"
        f"{f' with {copies} copies' if copies else ''}; run embed"
    )


def load_embeddings(
    prepared: Prepared, extractor: str, clips: IndexArray, copies: int
) -> LoadedTakes:
    """Embeddings (n, 128) float32 of some clips and of at most so many copies of each.

    Raises
    ------
    CommandError : see ``finished_folder``; or none of the clips could be prepared
    """
    finished = finished_folder(prepared, extractor, copies)
    return join(prepared.dataset, _shards(prepared, finished, clips, copies))


def _shards(
    prepared: Prepared, finished: str, clips: IndexArray, copies: int
) -> Iterator[ShardTakes]:
    for number in range(prepared.n_shards):
        columns = ["clip", "copy", "segment", "embedding"]
        table = read_table(prepared.store, shard_path(finished, number), columns)
        wanted = np.isin(table["clip"].to_numpy(), clips) & (table["copy"].to_numpy() <= copies)
        rows = table.filter(pa.array(wanted)).combine_chunks()
        clip, copy, segment = (
            rows[name].to_numpy().astype(np.int64) for name in ("clip", "copy", "segment")
        )
        first = np.flatnonzero(segment == 0)
        values = rows["embedding"].combine_chunks().flatten().to_numpy().copy()
        yield ShardTakes(
            clip[first],
            copy[first],
            np.diff(np.append(first, len(rows))),
            values.reshape(-1, EMBEDDING_SIZE),
        )


def _of_extractor(store: Store, extractor: str) -> str:
    return f"embeddings/{extractor}/{extractors.weights_id(store, extractor)}"
