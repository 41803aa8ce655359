"""The work folder's first part: a data set as patches.

    prepared.json      what was asked for, the data set's fingerprint, its labels
    clips.parquet      ``Dataset.clips``
    patches/           shards of ``PATCHES``, one row per take: a clip, or a pitch-shifted copy
    failures/          a shard of ``FAILURES`` for each shard of patches

Patches are float16: that is exact to 0.002, and augmentation moves them by far more. They are kept
as bytes, since Parquet writes and reads numbers of 2 bytes one by one.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.storage.store import Store
from pipelines.training.workfolder.shards import read_table, shard_path
from pipelines.training.workfolder.takes import LoadedTakes, ShardTakes, join
from tagger.arrays import IndexArray
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.labels import Label, LabelSet
from tagger.logmel import N_BANDS, PATCH_FRAMES

INFO: Final = "prepared.json"
CLIPS: Final = "clips.parquet"
FOLDER: Final = "patches"
FAILURES_FOLDER: Final = "failures"

TAKE_COLUMNS: Final = [
    pa.field("clip", pa.int32(), nullable=False),  # row of clips.parquet
    pa.field("name", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),  # or label set, as in clips.parquet
    pa.field("fold", pa.int32()),
    pa.field("split", pa.string(), nullable=False),
    pa.field("copy", pa.int32(), nullable=False),  # 0: the clip itself
    pa.field("n_semitones", pa.int32(), nullable=False),
]
PATCHES: Final = pa.schema(
    [
        *TAKE_COLUMNS,
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

    @property
    def fingerprint(self) -> str:
        """``Dataset.fingerprint`` of what was prepared."""
        fingerprint: str = self.info["fingerprint"]
        return fingerprint

    def failures(self) -> pa.Table:
        """All rows of ``FAILURES``."""
        paths = [shard_path(FAILURES_FOLDER, number) for number in range(self.n_shards)]
        return pa.concat_tables([read_table(self.store, path) for path in paths])

    @cached_property
    def failed_clips(self) -> IndexArray:
        """Rows of ``Dataset.clips`` that could not be prepared, as they were first asked for."""
        failed = self.dataset.clips["name"].isin(self.failures()["name"].to_pylist())
        return np.flatnonzero(failed.to_numpy())


def load_patches(prepared: Prepared, clips: IndexArray, copies: int) -> LoadedTakes:
    """Patches (n, 96, 64) float16 of some clips and of at most so many copies of each.

    Raises
    ------
    CommandError : none of the clips could be prepared
    """
    return join(prepared.dataset, _shards(prepared, clips, copies))


def _shards(prepared: Prepared, clips: IndexArray, copies: int) -> Iterator[ShardTakes]:
    for number in range(prepared.n_shards):
        columns = ["clip", "copy", "n_patches", "patches"]
        table = read_table(prepared.store, shard_path(FOLDER, number), columns)
        clip, copy = (table[name].to_numpy().astype(np.int64) for name in ("clip", "copy"))
        rows = np.flatnonzero(np.isin(clip, clips) & (copy <= copies))
        wanted = table["patches"].take(pa.array(rows))
        lengths = table["n_patches"].to_numpy().astype(np.int64)[rows]
        yield ShardTakes(clip[rows], copy[rows], lengths, patches_of(wanted))


def patches_of(column: pa.ChunkedArray) -> npt.NDArray[np.float16]:
    """Patches (n, 96, 64) float16 of some rows of ``PATCHES``, one after the other; a copy."""
    rows = [np.frombuffer(value.as_buffer(), np.float16) for value in column]
    values = np.concatenate(rows) if rows else np.empty(0, np.float16)
    return values.reshape(-1, PATCH_FRAMES, N_BANDS)


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
    missing = {shard_path(FOLDER, n) for n in range(info["n_shards"])} - set(store.list(FOLDER))
    if missing:
        raise CommandError(
            f"{store.root}: {len(missing)} of {info['n_shards']} shards are missing; run prepare "
            "again to complete them"
        )
    labels = LabelSet(tuple(Label(**label) for label in info["labels"]))
    clips = read_table(store, CLIPS).to_pandas()
    labelling = info.get("labelling", "one")
    return Prepared(store, info, Dataset(info["layout"], labels, clips, labelling=labelling))
