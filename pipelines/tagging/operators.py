"""The Ray Data operators of the ``tag`` job.

On a CPU-only cluster one pool of actors does everything to a batch of clips, from reading to the
staged file: nothing is shipped between processes, and no core waits for another. Where GPUs are
used there are three operators: preprocessing in CPU tasks, the model in GPU actors, staging in CPU
tasks. A recording too long to be shipped as one row is left to a pool of the first kind, whose
actors share the GPUs.

Pools have from the start the size that they are to have when all nodes are there. Actors without a
place are what has Ray's autoscaler add nodes, and replace those that leave. (A pool that begins
small and is to grow took 38 s to use a node that was there, Ray 2.60.)

Every operator turns one row (a batch of clips) into one row, so that a replay after a lost node
gives as many rows and blocks as before. The last row of a batch is its receipt: the name of the
staged file, how many of the clips are in it, and what they came to.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data

from pipelines.inputs.access import Access
from pipelines.output.tally import PATCHES_STAGE, Tally
from pipelines.runtime.cluster import Workers
from pipelines.runtime.growth import GPU_ACTOR_CPUS
from pipelines.runtime.limits import Limits
from pipelines.runtime.work import CLIP_COST_S, SEGMENT_S, estimated_seconds
from pipelines.storage.retry import RetryCount
from pipelines.tagging.batch_tagger import BatchTagger, clip_tagger, stage_batch
from pipelines.tagging.plan import Plan, Receipt
from pipelines.tagging.stages import Preprocessor, pack, unpack
from pipelines.tagging.telling import telling
from tagger.card import ModelFiles
from tagger.logmel import N_BANDS, PATCH_FRAMES

GPU_TASKS_IN_FLIGHT: Final = 4
CPU_TASKS_IN_FLIGHT: Final = 2
WHOLE_PER_GPU: Final = 8  # actors that decode long recordings beside a GPU, which they share
# Of two cores, two tasks of preprocessing leave room for a GPU actor and for staging.
PREPROCESSING_CPUS: Final = 0.9
STAGING_CPUS: Final = 0.05
NO_PROGRESS_S: Final = 6 * 3600.0  # no single recording takes longer
ONE_BY_ONE: Final[dict[str, Any]] = {"batch_size": 1, "batch_format": "pyarrow"}


@dataclass(frozen=True)
class Shared:
    """What all workers of a job share, in the object store."""

    plan: "ray.ObjectRef[Plan]"
    model: "ray.ObjectRef[ModelFiles]"


def carry_out(plan: Plan, model: ModelFiles, workers: Workers) -> Iterator[Receipt]:
    """Send the plan's batches through the operators; gives each receipt as it comes."""
    model_files = ray.put(model)
    for first, part in plan.parts():
        for receipt in _carry_out(part, Shared(ray.put(part), model_files), workers):
            yield replace(receipt, batch=first + receipt.batch)


def _carry_out(plan: Plan, shared: Shared, workers: Workers) -> Iterator[Receipt]:
    """Carry out a part of a plan."""
    batches = np.arange(len(plan.bounds) - 1)
    if workers.n_gpus and not plan.whole:
        too_long = exceeds_a_row(plan)
        for batch in batches[too_long].tolist():
            yield Receipt(batch, "", 0, Tally())
        batches = batches[~too_long]
    make = on_gpus if workers.n_gpus and not plan.whole else all_in_one
    if not len(batches):
        return
    rows = make(shared, batches.tolist(), workers)
    block: Any
    for block in rows.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        yield from map(Receipt.from_json, block["receipt"].to_pylist())


def exceeds_a_row(plan: Plan) -> npt.NDArray[np.bool_]:
    """Which batches are one recording that probably does not fit a row."""
    seconds = estimated_seconds(plan.clips)[plan.bounds[:-1]] - CLIP_COST_S
    bytes_per_patch = PATCH_FRAMES * N_BANDS * np.dtype(plan.patch_dtype).itemsize
    exceeds = seconds / SEGMENT_S * bytes_per_patch > plan.most_packed_bytes
    alone: npt.NDArray[np.bool_] = np.diff(plan.bounds) == 1
    return exceeds & alone


def all_in_one(shared: Shared, batches: Sequence[int], workers: Workers) -> ray.data.Dataset:
    """One pool of actors: on a CPU each, or on a CPU and a share of a GPU."""
    share = min(workers.gpus_per_actor, 1 / WHOLE_PER_GPU) if workers.n_gpus else 0.0
    n_actors = min(workers.n_cpus, int(workers.n_gpus / share) if share else workers.n_cpus)
    return _source(batches).map_batches(
        AllInOne,
        compute=_pool(n_actors, batches, CPU_TASKS_IN_FLIGHT),
        num_cpus=1,
        num_gpus=share,
        fn_constructor_kwargs={"shared": shared},
        **ONE_BY_ONE,
    )


def on_gpus(shared: Shared, batches: Sequence[int], workers: Workers) -> ray.data.Dataset:
    """Three operators."""
    return (
        _source(batches)
        .map_batches(
            partial(preprocess, shared=shared),
            compute=ray.data.TaskPoolStrategy(size=min(workers.n_cpus, len(batches))),
            num_cpus=PREPROCESSING_CPUS,
            **ONE_BY_ONE,
        )
        .map_batches(
            TagOnGpu,
            compute=_pool(workers.n_actors, batches, GPU_TASKS_IN_FLIGHT),
            num_gpus=workers.gpus_per_actor,
            num_cpus=GPU_ACTOR_CPUS,
            fn_constructor_kwargs={"shared": shared},
            **ONE_BY_ONE,
        )
        .map_batches(partial(write_staged, shared=shared), num_cpus=STAGING_CPUS, **ONE_BY_ONE)
    )


def _source(batches: Sequence[int]) -> ray.data.Dataset:
    """A row for each batch; nothing runs before the data set is read."""
    context = ray.data.DataContext.get_current()
    context.raise_original_map_exception = True  # its type decides the exit code
    context.execution_no_progress_timeout_s = NO_PROGRESS_S
    # Not from_arrow: it starts a task of Ray's for each block to count its rows, some 5 ms each.
    rows: ray.data.Dataset = ray.data.from_blocks([pa.table({"batch": [i]}) for i in batches])
    return rows


def _pool(n_actors: int, batches: Sequence[int], in_flight: int) -> ray.data.ActorPoolStrategy:
    """As many actors as have something to do."""
    return ray.data.ActorPoolStrategy(
        size=min(n_actors, len(batches)), max_tasks_in_flight_per_actor=in_flight
    )


class AllInOne:
    """The whole path of a batch: {batch} -> {receipt}."""

    def __init__(self, shared: Shared) -> None:
        self._tag = BatchTagger(ray.get(shared.plan), ray.get(shared.model), n_threads=1)

    def __call__(self, row: pa.Table) -> pa.Table:
        return pa.table({"receipt": [self._tag(_batch(row)).to_json()]})


def preprocess(row: pa.Table, shared: Shared) -> pa.Table:
    """First operator of the GPU plan: {batch} -> {batch, order, patches, tally}."""
    retries = RetryCount()
    plan: Plan = ray.get(shared.plan)
    tally = Tally()
    preprocessor = _preprocessor(
        plan.limits, plan.access, plan.most_patches, plan.rows.output.track
    )
    cpu_s = preprocessor.cpu_s
    with tally.timed(PATCHES_STAGE):
        events = preprocessor(plan.batch(_batch(row)))
        order, patches = pack(events, plan.patch_dtype, plan.most_packed_bytes)
    tally.count_cpu(PATCHES_STAGE, preprocessor.cpu_s - cpu_s)
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
        self._tag = clip_tagger(self._plan, ray.get(shared.model))

    def __call__(self, row: pa.Table) -> pa.Table:
        clips = self._plan.batch(_batch(row))
        patches = row["patches"].chunk(0)[0].as_buffer()
        events = unpack(row["order"][0].as_py(), patches, self._plan.patch_dtype)
        tell = partial(self._plan.board.write, _batch(row))
        table, tally = self._tag(clips, telling(events, clips, tell))
        self._plan.board.wipe(_batch(row))
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
    receipt = stage_batch(ray.get(shared.plan), _batch(row), table, _tally(row), RetryCount())
    return pa.table({"receipt": [receipt.to_json()]})


def _tally(row: pa.Table) -> Tally:
    return Tally(**json.loads(row["tally"][0].as_py()))


def _large_binary(data: pa.Buffer) -> pa.Array:
    """One value, not copied."""
    offsets = pa.py_buffer(np.array([0, data.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, data])


@cache
def _preprocessor(limits: Limits, access: Access, most_patches: int, track: str) -> Preprocessor:
    """One per worker process, so that its decoding process outlives the task."""
    return Preprocessor(limits, access, most_patches, track)


def _batch(row: pa.Table) -> int:
    number: int = row["batch"][0].as_py()
    return number
