"""The Ray Data operators of the ``tag`` job (design 3, 7).

On a CPU-only cluster one pool of actors does everything to a batch of clips, from reading to the
staged file: nothing is shipped between processes, and no core waits for another. Where GPUs are
used there are three operators: preprocessing in CPU tasks, the model in GPU actors, staging in CPU
tasks.

Every operator turns one row (a batch of clips) into one row, so that a replay after a lost node
gives as many rows and blocks as before. The last row of a batch is its receipt: the name of the
staged file, how many of the clips are in it, and what they came to.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data

from pipelines.output.staging import stage
from pipelines.output.tally import Tally
from pipelines.runtime.cluster import Workers
from pipelines.runtime.limits import Limits
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import Store
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import MOST_PATCHES, ClipTagger, Preprocessor, pack, unpack
from tagger.card import ModelFiles

if TYPE_CHECKING:
    from tagger.tagging import Precision

GPU_TASKS_IN_FLIGHT: Final = 4
CPU_TASKS_IN_FLIGHT: Final = 2
# Of two cores, two tasks of preprocessing leave room for a GPU actor and for staging.
PREPROCESSING_CPUS: Final = 0.9
GPU_ACTOR_CPUS: Final = 0.1
STAGING_CPUS: Final = 0.05
NO_PROGRESS_S: Final = 6 * 3600.0  # no single recording takes longer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What workers need to know, the model apart.

    Attributes
    ----------
    clips : all clips to work on, schema ``LISTING``
    bounds : (n_batches + 1,) int64; batch i is rows ``bounds[i]`` to ``bounds[i + 1]``
    precision : arithmetic of the extractors; None: what the hardware computes in
    most_patches : with which a batch ends, leaving clips over
    """

    clips: pa.Table
    bounds: npt.NDArray[np.int64]
    store: Store
    rows: RowSettings
    limits: Limits
    precision: "Precision | None"
    most_patches: int = MOST_PATCHES

    def batch(self, number: int) -> pa.Table:
        return self.clips.slice(self.bounds[number], self.bounds[number + 1] - self.bounds[number])

    @property
    def limited(self) -> tuple[Limits, float, int]:
        """What a ``Preprocessor`` is told."""
        return self.limits, self.store.patience_s, self.most_patches

    @property
    def patch_dtype(self) -> str:
        """How patches travel to GPUs: float16 is finer than the bfloat16 they end in."""
        return "float32" if self.precision == "float32" else "float16"


@dataclass(frozen=True)
class Shared:
    """What all workers of a job share, in the object store."""

    plan: "ray.ObjectRef[Plan]"
    model: "ray.ObjectRef[ModelFiles]"


def receipts(plan: Plan, model: ModelFiles, workers: Workers) -> Iterator[tuple[str, Tally]]:
    """Carry out the plan; yields each staged file and what it came to, as it is done.

    Clips that are left over, as their batch held far more audio than it looked, follow one by one.
    """
    left: list[int] = []
    shared = Shared(ray.put(plan), ray.put(model))
    rows = dataset(shared, len(plan.bounds) - 1, workers)
    block: Any
    for block in rows.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for text in block["receipt"].to_pylist():
            receipt = json.loads(text)
            begin, end = plan.bounds[receipt["batch"] :][:2].tolist()
            left += range(begin + receipt["n_clips"], end)
            yield receipt["file"], Tally(**receipt["tally"])
    if left:
        _log.info("%d clips follow one by one: their batches held too much audio", len(left))
        clips = plan.clips.take(pa.array(left))
        yield from receipts(
            replace(plan, clips=clips, bounds=np.arange(len(left) + 1)), model, workers
        )


def dataset(shared: Shared, n_batches: int, workers: Workers) -> ray.data.Dataset:
    """The operators over all batches; nothing runs before it is read."""
    context = ray.data.DataContext.get_current()
    context.raise_original_map_exception = True  # its type decides the exit code
    context.execution_no_progress_timeout_s = NO_PROGRESS_S
    # Not from_arrow: it starts a task of Ray's for each block to count its rows, some 5 ms each.
    batches: ray.data.Dataset = ray.data.from_blocks(
        [pa.table({"batch": [i]}) for i in range(n_batches)]
    )
    common: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
    if not workers.n_gpus:
        return batches.map_batches(
            TagOnCpu,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers.n_cpus, n_batches),
                max_tasks_in_flight_per_actor=CPU_TASKS_IN_FLIGHT,
            ),
            num_cpus=1,
            fn_constructor_kwargs={"shared": shared},
            **common,
        )
    return (
        batches.map_batches(
            partial(preprocess, shared=shared),
            compute=ray.data.TaskPoolStrategy(size=workers.n_cpus),
            num_cpus=PREPROCESSING_CPUS,
            **common,
        )
        .map_batches(
            TagOnGpu,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers.n_gpus, n_batches),
                max_tasks_in_flight_per_actor=GPU_TASKS_IN_FLIGHT,
            ),
            num_gpus=1,
            num_cpus=GPU_ACTOR_CPUS,
            fn_constructor_kwargs={"shared": shared},
            **common,
        )
        .map_batches(partial(write_staged, shared=shared), num_cpus=STAGING_CPUS, **common)
    )


class TagOnCpu:
    """The whole path of a batch: {batch} -> {receipt}."""

    def __init__(self, shared: Shared) -> None:
        self._plan: Plan = ray.get(shared.plan)
        self._preprocess = Preprocessor(*self._plan.limited)
        self._tag = _clip_tagger(self._plan, shared)

    def __call__(self, row: pa.Table) -> pa.Table:
        retries = RetryCount()
        clips = self._plan.batch(_batch(row))
        table, tally = self._tag(clips, self._preprocess(clips))
        return _receipt(self._plan, row, table, tally, retries)


def preprocess(row: pa.Table, shared: Shared) -> pa.Table:
    """First operator of the GPU plan: {batch} -> {batch, order, patches, tally}."""
    retries = RetryCount()
    plan: Plan = ray.get(shared.plan)
    tally = Tally()
    with tally.timed("patches"):
        events = _preprocessor(*plan.limited)(plan.batch(_batch(row)))
        order, patches = pack(events, plan.patch_dtype)
    tally.n_retries = retries.n
    return pa.table(
        {
            "batch": row["batch"],
            "order": [order],
            "patches": _large_binary(patches),
            "tally": [json.dumps(asdict(tally))],
        }
    )


class TagOnGpu:
    """Second operator of the GPU plan: {batch, order, patches, tally} -> {batch, staged, tally}."""

    def __init__(self, shared: Shared) -> None:
        self._plan: Plan = ray.get(shared.plan)
        self._tag = _clip_tagger(self._plan, shared)

    def __call__(self, row: pa.Table) -> pa.Table:
        clips = self._plan.batch(_batch(row))
        patches = row["patches"].chunk(0)[0].as_buffer()
        events = unpack(row["order"][0].as_py(), patches, self._plan.patch_dtype)
        table, tally = self._tag(clips, events)
        tally.add(_tally(row))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return pa.table(
            {
                "batch": row["batch"],
                "staged": _large_binary(sink.getvalue()),
                "tally": [json.dumps(asdict(tally))],
            }
        )


def write_staged(row: pa.Table, shared: Shared) -> pa.Table:
    """Third operator of the GPU plan: {batch, staged, tally} -> {receipt}."""
    with pa.ipc.open_stream(row["staged"].chunk(0)[0].as_buffer()) as reader:
        table = reader.read_all()
    return _receipt(ray.get(shared.plan), row, table, _tally(row), RetryCount())


def _receipt(
    plan: Plan, row: pa.Table, table: pa.Table, tally: Tally, retries: RetryCount
) -> pa.Table:
    with tally.timed("staging"):
        file = stage(table, plan.store, plan.rows.model_id)
    tally.n_retries += retries.n
    receipt = {"batch": _batch(row), "file": file, "n_clips": len(table), "tally": asdict(tally)}
    return pa.table({"receipt": [json.dumps(receipt)]})


def _tally(row: pa.Table) -> Tally:
    return Tally(**json.loads(row["tally"][0].as_py()))


def _large_binary(data: pa.Buffer) -> pa.Array:
    """One value, not copied."""
    offsets = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])


def _clip_tagger(plan: Plan, shared: Shared) -> ClipTagger:
    from tagger.tagging import Tagger, pick_device, pick_precision

    device = pick_device()
    precision = plan.precision or pick_precision(device)
    return ClipTagger(Tagger(ray.get(shared.model), device, precision), plan.rows)


@cache
def _preprocessor(limits: Limits, patience_s: float, most_patches: int) -> Preprocessor:
    """One per worker process, so that its decoding process outlives the task."""
    return Preprocessor(limits, patience_s, most_patches)


def _batch(row: pa.Table) -> int:
    number: int = row["batch"][0].as_py()
    return number
