"""``embed``: patches to 128-dimensional features by each extractor, as Parquet (section 2.2).

Below ``embeddings/<extractor>/<weights>/`` is a shard for each shard of patches; Ray Data maps one
pair of extractor and shard to one file, so a repeated run makes only what is missing.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from pipelines.runtime.cluster import connect
from pipelines.runtime.ray_errors import plain_errors
from pipelines.storage.store import Store, open_store
from pipelines.training.finetune import load_extractor, read_spec, weights_of
from pipelines.training.jobs import EmbedJob
from pipelines.training.step_records import TrainRecord, recorded
from pipelines.training.workfolder.patches import (
    TAKE,
    Prepared,
    assemble,
    open_prepared,
    patches_of,
    read_table,
    shard,
    write_table,
)
from tagger.arrays import IndexArray
from tagger.errors import CommandError
from tagger.examples import Takes
from tagger.schema import EMBEDDING_SIZE
from tagger.tagging import EXTRACTOR_BATCH, for_inference, pick_device
from tagger.vggish import VGGishClassifier

Network = Callable[[torch.Tensor], torch.Tensor]

EMBEDDINGS: Final = pa.schema(
    [
        *TAKE,
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("segment", pa.int32(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), EMBEDDING_SIZE), nullable=False),
    ]
)


def run(job: EmbedJob, command: list[str]) -> TrainRecord:
    """Carry out ``embed``."""
    store = open_store(job.work)
    prepared = open_prepared(store)
    for name in job.extractors:
        if read_spec(store, name).network != "vggish":
            raise CommandError(f"extractor {name} is the baseline CNN, which has no embeddings")
    with recorded(store, "embed", command, job, prepared.info["fingerprint"]) as record:
        pending = []
        for name in job.extractors:
            folder = _folder(store, name, job.copies)
            done = set(store.list(folder))
            numbers = range(prepared.n_shards)
            pending += [(name, n) for n in numbers if shard(n, folder) not in done]
        start = time.monotonic()
        n_segments = _carry_out(prepared, pending, job) if pending else 0
        seconds = time.monotonic() - start
        record.metrics |= {"n_segments": n_segments, "segments_per_s": n_segments / seconds}
    return record


def _folder(store: Store, name: str, copies: int | None) -> str:
    return f"{_parent(store, name)}/{'all' if copies is None else copies}"


def _parent(store: Store, name: str) -> str:
    """An extractor trained anew under its old name has embeddings of its own."""
    return f"embeddings/{name}/{weights_of(store, name)}"


def _carry_out(prepared: Prepared, pending: list[tuple[str, int]], job: EmbedJob) -> int:
    workers = connect(job.resources)
    import ray

    pairs = ray.data.from_arrow(
        [pa.table({"extractor": [name], "shard": [number]}) for name, number in pending]
    )
    n_actors = workers.n_gpus or workers.n_cpus
    embedded = pairs.map_batches(
        Embedder,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(n_actors, len(pending))),
        num_cpus=0.1 if workers.n_gpus else 1,
        num_gpus=1 if workers.n_gpus else 0,
        fn_constructor_kwargs={"prepared": prepared, "copies": job.copies},
    )
    with plain_errors():
        return sum(row["n_segments"] for row in embedded.iter_rows())


class Embedder:
    """{extractor, shard} -> {n_segments}, and the file of embeddings."""

    def __init__(self, prepared: Prepared, copies: int | None) -> None:
        self._prepared, self._copies = prepared, copies
        self._device = torch.device(pick_device())
        self._networks: dict[str, Network] = {}

    def __call__(self, row: pa.Table) -> pa.Table:
        name, number = row["extractor"][0].as_py(), row["shard"][0].as_py()
        patches = read_table(self._prepared.store, shard(number))
        if self._copies is not None:
            patches = patches.filter(pa.array(patches["copy"].to_numpy() <= self._copies))
        table = embed(patches, name, self._network(name), self._device)
        store = self._prepared.store
        write_table(store, shard(number, _folder(store, name, self._copies)), table)
        return pa.table({"n_segments": [len(table)]})

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            n_classes = len(self._prepared.dataset.labels)
            _, network = load_extractor(self._prepared.store, name, n_classes)
            assert isinstance(network, VGGishClassifier)
            self._networks[name] = for_inference(network.extractor, self._device, torch.float32)
        return self._networks[name]


@torch.inference_mode()
def embed(patches: pa.Table, name: str, network: Network, device: torch.device) -> pa.Table:
    """Rows of ``EMBEDDINGS``, one per patch, from rows of ``PATCHES``."""
    values = [patches_of(value) for value in patches["patches"]]
    lengths = patches["n_patches"].to_numpy()
    out = np.empty((lengths.sum(), EMBEDDING_SIZE), np.float32)
    every = torch.from_numpy(np.concatenate(values)) if values else torch.empty(0, 96, 64)
    for start in range(0, len(out), EXTRACTOR_BATCH):
        part = every[start : start + EXTRACTOR_BATCH].float().to(device)
        out[start : start + len(part)] = network(part).cpu().numpy()
    take = np.repeat(np.arange(len(lengths)), lengths)
    segment = np.concatenate([np.arange(n) for n in lengths]) if len(lengths) else lengths
    columns: dict[str, Any] = {
        field.name: patches[field.name].take(pa.array(take)) for field in TAKE
    }
    columns["extractor"] = pa.repeat(name, len(take))
    columns["segment"] = pa.array(segment, pa.int32())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(out.ravel()), EMBEDDING_SIZE)
    return pa.table(columns, schema=EMBEDDINGS)


def embedded(prepared: Prepared, name: str, copies: int) -> str:
    """The folder of an extractor's embeddings of each clip and so many copies of it.

    Raises
    ------
    CommandError : the extractor was not embedded, or not with so many copies
    """
    parent = _parent(prepared.store, name)
    n_shards = Counter(path.split("/")[-2] for path in prepared.store.list(parent))
    for part in sorted(n_shards):
        if (part == "all" or int(part) >= copies) and n_shards[part] == prepared.n_shards:
            return f"{parent}/{part}"
    raise CommandError(
        f"{prepared.store.root}: extractor {name!r} is not embedded"
        f"{f' with {copies} copies' if copies else ''}; run embed"
    )


def embedded_takes(
    prepared: Prepared, name: str, clips: IndexArray, copies: int
) -> tuple[Takes, IndexArray]:
    """Embeddings of takes of some clips, as ``Prepared.takes`` gives patches."""
    store, folder = prepared.store, embedded(prepared, name, copies)
    parts, lengths, owners = [], [], []
    for number in range(prepared.n_shards):
        table = read_table(store, shard(number, folder), ["clip", "copy", "segment", "embedding"])
        wanted = np.isin(table["clip"].to_numpy(), clips) & (table["copy"].to_numpy() <= copies)
        rows = table.filter(pa.array(wanted)).combine_chunks()
        first = np.flatnonzero(rows["segment"].to_numpy() == 0)
        lengths.append(np.diff(np.append(first, len(rows))))
        owners.append(rows["clip"].to_numpy()[first])
        values = rows["embedding"].combine_chunks()
        parts.append(values.flatten().to_numpy().reshape(-1, EMBEDDING_SIZE))
    return assemble(prepared.dataset, parts, lengths, owners)
