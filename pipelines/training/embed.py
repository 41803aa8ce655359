"""``embed``: patches to 128-dimensional features by each extractor, as Parquet (section 2.2).

A shard of patches becomes one file for each extractor that has not embedded it yet, so a repeated
run makes only what is missing. Ray Data maps them; less than a minute of work is done in this
process.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipelines.runtime.cluster import connect
from pipelines.runtime.ray_errors import plain_errors
from pipelines.runtime.work import ALONE_S, embedding_cpu_s, fits_one_process
from pipelines.storage.store import open_store
from pipelines.training.jobs import EmbedJob
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder import extractors, patches
from pipelines.training.workfolder.embeddings import EMBEDDINGS, folder
from pipelines.training.workfolder.patches import (
    TAKE_COLUMNS,
    Prepared,
    open_prepared,
    patches_of,
)
from pipelines.training.workfolder.shards import read_table, shard_path, write_table
from tagger.devices import for_inference, pick_device
from tagger.errors import CommandError
from tagger.schema import EMBEDDING_SIZE
from tagger.tagging import EXTRACTOR_BATCH
from tagger.vggish import VGGishClassifier

Network = Callable[[torch.Tensor], torch.Tensor]


def run(job: EmbedJob, command: list[str]) -> StepRecord:
    """Carry out ``embed``.

    Raises
    ------
    CommandError : an extractor is not trained, or is the baseline CNN
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    for name in job.extractors:
        if extractors.read_spec(store, name).network != "vggish":
            raise CommandError(f"extractor {name} is the baseline CNN, which has no embeddings")
    with recorded(store, "embed", command, job, prepared.fingerprint) as record:
        pending = _pending(prepared, job)
        start = time.monotonic()
        n_segments = _carry_out(prepared, pending, job) if pending else 0
        seconds = time.monotonic() - start
        record.metrics |= {"n_segments": n_segments, "segments_per_s": n_segments / seconds}
    return record


def _pending(prepared: Prepared, job: EmbedJob) -> Mapping[int, list[str]]:
    """The extractors that have not embedded a shard yet, by its number."""
    pending = defaultdict(list)
    for name in job.extractors:
        to = folder(prepared.store, name, job.copies)
        done = set(prepared.store.list(to))
        for number in range(prepared.n_shards):
            if shard_path(to, number) not in done:
                pending[number].append(name)
    return pending


def _carry_out(prepared: Prepared, pending: Mapping[int, list[str]], job: EmbedJob) -> int:
    """Embed; the number of segments embedded."""
    rows = [pa.table({"shard": [n], "extractors": [names]}) for n, names in pending.items()]
    if fits_one_process(job.resources, _cpu_s(prepared, pending)):
        embedder = Embedder(prepared, job.copies)
        return sum(embedder(row)["n_segments"][0].as_py() for row in rows)
    workers = connect(job.resources, len(pending))
    import ray

    embedded = ray.data.from_arrow(rows).map_batches(
        Embedder,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers.n_actors, len(pending))),
        num_cpus=0.1 if workers.n_gpus else 1,
        num_gpus=workers.gpus_per_actor if workers.n_gpus else 0,
        fn_constructor_kwargs={"prepared": prepared, "copies": job.copies},
    )
    with plain_errors():
        return sum(row["n_segments"] for row in embedded.iter_rows())


def _cpu_s(prepared: Prepared, pending: Mapping[int, list[str]]) -> float:
    """Seconds of one core that embedding probably takes; more are not counted than ``ALONE_S``."""
    cpu_s = 0.0
    for number, names in pending.items():
        if cpu_s > ALONE_S:
            break
        takes = read_table(prepared.store, shard_path(patches.FOLDER, number), ["n_patches"])
        specs = [extractors.read_spec(prepared.store, name).vggish for name in names]
        cpu_s += sum(takes["n_patches"].to_numpy()) * sum(map(embedding_cpu_s, specs))
    return cpu_s


class Embedder:
    """What Ray Data maps: {shard, extractors} -> {n_segments}, and the files of embeddings.

    Parameters
    ----------
    copies : copies of each clip to embed, at most; None: all
    """

    def __init__(self, prepared: Prepared, copies: int | None) -> None:
        self._prepared, self._copies = prepared, copies
        self._device = torch.device(pick_device())
        self._networks: dict[str, Network] = {}

    def __call__(self, row: pa.Table) -> pa.Table:
        number, names = row["shard"][0].as_py(), row["extractors"][0].as_py()
        store = self._prepared.store
        columns = [field.name for field in TAKE_COLUMNS] + ["n_patches", "patches"]
        takes = read_table(store, shard_path(patches.FOLDER, number), columns)
        if self._copies is not None:
            takes = takes.filter(pa.array(takes["copy"].to_numpy() <= self._copies))
        n_segments = 0
        for name in names:
            table = embed(takes, name, self._network(name), self._device)
            write_table(store, shard_path(folder(store, name, self._copies), number), table)
            n_segments += len(table)
        return pa.table({"n_segments": [n_segments]})

    def _network(self, name: str) -> Network:
        if name not in self._networks:
            n_classes = len(self._prepared.dataset.labels)
            _, network = extractors.load(self._prepared.store, name, n_classes)
            assert isinstance(network, VGGishClassifier)
            self._networks[name] = for_inference(network.extractor, self._device, torch.float32)
        return self._networks[name]


@torch.inference_mode()
def embed(takes: pa.Table, name: str, network: Network, device: torch.device) -> pa.Table:
    """Rows of ``EMBEDDINGS``, one per patch, from rows of ``PATCHES``."""
    lengths = takes["n_patches"].to_numpy()
    values = torch.from_numpy(patches_of(takes["patches"]))
    embeddings = np.empty((len(values), EMBEDDING_SIZE), np.float32)
    batch = EXTRACTOR_BATCH[device.type]
    for start in range(0, len(values), batch):
        part = values[start : start + batch].float().to(device)
        embeddings[start : start + len(part)] = network(part).cpu().numpy()
    row_of = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    columns: dict[str, Any] = {
        field.name: takes[field.name].take(pa.array(row_of)) for field in TAKE_COLUMNS
    }
    columns["extractor"] = pa.repeat(name, len(row_of))
    columns["segment"] = pa.array(np.arange(len(row_of)) - first[row_of], pa.int32())
    flat = pa.array(embeddings.ravel())
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(flat, EMBEDDING_SIZE)
    return pa.table(columns, schema=EMBEDDINGS)
