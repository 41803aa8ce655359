"""The work folder's first part: a data set as patches (design 6).

    prepared.json      what was asked for, the data set's fingerprint, its labels
    clips.parquet      ``Dataset.clips``
    patches/           shards of ``PATCHES``, one row per take: a clip, or a pitch-shifted copy
    failures/          a shard of ``FAILURES`` for each shard of patches

Patches are float16: that is exact to 0.002, and augmentation moves them by far more. They are kept
as bytes, since Parquet writes and reads numbers of 2 bytes one by one.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.store import Store
from tagger.arrays import IndexArray
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.examples import Takes
from tagger.labels import Label, LabelSet
from tagger.logmel import N_BANDS, PATCH_FRAMES

INFO: Final = "prepared.json"
CLIPS: Final = "clips.parquet"

TAKE: Final = [
    pa.field("clip", pa.int32(), nullable=False),  # row of clips.parquet
    pa.field("name", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("fold", pa.int32()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("copy", pa.int32(), nullable=False),  # 0: the clip itself
    pa.field("n_semitones", pa.int32(), nullable=False),
]
PATCHES: Final = pa.schema(
    [
        *TAKE,
        pa.field("offset_s", pa.float32(), nullable=False),  # where in the content the take starts
        pa.field("n_patches", pa.int32(), nullable=False),
        pa.field("patches", pa.binary(), nullable=False),  # (n_patches, 96, 64) float16
    ]
)
FAILURES: Final = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string()),
    ]
)


def shard(number: int, folder: str = "patches") -> str:
    """Name a shard."""
    return f"{folder}/part-{number:05d}.parquet"


def write_table(store: Store, path: str, table: pa.Table) -> None:
    """Write a table as one Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    store.write(path, sink.getvalue())


def read_table(store: Store, path: str, columns: list[str] | None = None) -> pa.Table:
    """Read one Parquet file."""
    return pq.read_table(io.BytesIO(store.read(path)), columns=columns)


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, opened."""

    store: Store
    info: dict[str, Any]
    dataset: Dataset

    @property
    def n_shards(self) -> int:
        n: int = self.info["n_shards"]
        return n

    def shards(self) -> Iterator[pa.Table]:
        """Each shard of ``PATCHES``, in the order of the clips."""
        for number in range(self.n_shards):
            yield read_table(self.store, shard(number))

    def failures(self) -> pa.Table:
        """All rows of ``FAILURES``."""
        paths = [shard(number, "failures") for number in range(self.n_shards)]
        return pa.concat_tables([read_table(self.store, path) for path in paths])

    def takes(self, clips: IndexArray, copies: int) -> tuple[Takes, IndexArray]:
        """Takes of some clips, with at most so many copies of each, and the clip of each take."""
        parts, lengths, owners = [], [], []
        for table in self.shards():
            wanted = np.isin(table["clip"].to_numpy(), clips) & (table["copy"].to_numpy() <= copies)
            rows = table.filter(pa.array(wanted))
            lengths.append(rows["n_patches"].to_numpy())
            owners.append(rows["clip"].to_numpy())
            parts += [patches_of(value) for value in rows["patches"]]
        return assemble(self.dataset, parts, lengths, owners)


def patches_of(value: pa.Scalar) -> Any:
    """Patches (n, 96, 64) float16 of one row."""
    return np.frombuffer(value.as_buffer(), np.float16).reshape(-1, PATCH_FRAMES, N_BANDS)


def assemble(
    dataset: Dataset, parts: list[Any], lengths: list[Any], clips: list[Any]
) -> tuple[Takes, IndexArray]:
    """Takes of values (n, ...) each, and the clips that they belong to."""
    if not sum(map(len, parts)):
        raise CommandError("none of the clips could be prepared: see the failures")
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    owners = np.concatenate(clips).astype(np.int64)
    labels = dataset.truth()[owners]
    return Takes(np.concatenate(parts), starts, labels, len(dataset.labels)), owners


def open_prepared(store: Store) -> Prepared:
    """Open what ``prepare`` has written.

    Raises
    ------
    CommandError : nothing is there, or it is not complete
    """
    try:
        info = json.loads(store.read(INFO))
    except FileNotFoundError as error:
        raise CommandError(f"{store.root}: nothing prepared here; run prepare first") from error
    missing = {shard(n) for n in range(info["n_shards"])} - set(store.list("patches"))
    if missing:
        raise CommandError(
            f"{store.root}: {len(missing)} of {info['n_shards']} shards are missing; run prepare "
            "again to complete them"
        )
    labels = LabelSet(tuple(Label(**label) for label in info["labels"]))
    clips = read_table(store, CLIPS).to_pandas()
    return Prepared(store, info, Dataset(info["layout"], labels, clips))
