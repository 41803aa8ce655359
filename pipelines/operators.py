"""The Ray Data operators of the ``tag`` job (design 3, 7).

On a CPU-only cluster one pool of actors does everything to a batch of clips, from reading to the
staged file: nothing is shipped between processes, and no core waits for another. Where GPUs are
used there are three operators: preprocessing in CPU tasks, the model in GPU actors, staging in CPU
tasks.

Every operator turns one row (a batch of clips) into one row, so that a replay after a lost node
gives as many rows and blocks as before. The last row of a batch is its receipt: the name of the
staged file, and what the batch came to.
"""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import ray.data

from pipelines.cluster import Workers
from pipelines.config import Limits
from pipelines.publication import stage
from pipelines.rows import RowSettings
from pipelines.stages import ClipTagger, Preprocessor, Tally, pack, unpack
from pipelines.store import Store
from tagger.card import ModelFiles

if TYPE_CHECKING:
    from tagger.tagging import Precision

GPU_TASKS_IN_FLIGHT = 4
CPU_TASKS_IN_FLIGHT = 2
GPU_ACTOR_CPUS = 0.1  # leaves the cores to the tasks that feed it
STAGING_CPUS = 0.25


@dataclass(frozen=True)
class Plan:
    """What workers need to know, the model apart.

    Attributes
    ----------
    clips : all clips to work on, schema ``LISTING``
    bounds : (n_batches + 1,) int64; batch i is rows ``bounds[i]`` to ``bounds[i + 1]``
    precision : arithmetic of the extractors; None: what the hardware computes in
    """

    clips: pa.Table
    bounds: npt.NDArray[np.int64]
    store: Store
    rows: RowSettings
    limits: Limits
    precision: "Precision | None"

    def batch(self, number: int) -> pa.Table:
        return self.clips.slice(self.bounds[number], self.bounds[number + 1] - self.bounds[number])

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
    """Carry out the plan; yields each batch's staged file and what it came to."""
    shared = Shared(ray.put(plan), ray.put(model))
    for row in dataset(shared, len(plan.bounds) - 1, workers).iter_rows():
        receipt = json.loads(row["receipt"])
        yield receipt["file"], Tally(**receipt["tally"])


def dataset(shared: Shared, n_batches: int, workers: Workers) -> ray.data.Dataset:
    """The operators over all batches; nothing runs before it is read."""
    batches = ray.data.from_arrow([pa.table({"batch": [i]}) for i in range(n_batches)])
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
            num_cpus=1,
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
        self._preprocess = Preprocessor(self._plan.limits)
        self._tag = _clip_tagger(self._plan, shared)

    def __call__(self, row: pa.Table) -> pa.Table:
        clips = self._plan.batch(_batch(row))
        return _receipt(self._plan, *self._tag(clips, self._preprocess(clips)))


def preprocess(row: pa.Table, shared: Shared) -> pa.Table:
    """First operator of the GPU plan: {batch} -> {batch, order, patches}."""
    plan: Plan = ray.get(shared.plan)
    events = _preprocessor(plan.limits)(plan.batch(_batch(row)))
    order, patches = pack(events, plan.patch_dtype)
    return pa.table(
        {
            "batch": row["batch"],
            "order": [order],
            "patches": pa.array([patches], pa.large_binary()),
        }
    )


class TagOnGpu:
    """Second operator of the GPU plan: {batch, order, patches} -> {staged, tally}."""

    def __init__(self, shared: Shared) -> None:
        self._plan: Plan = ray.get(shared.plan)
        self._tag = _clip_tagger(self._plan, shared)

    def __call__(self, row: pa.Table) -> pa.Table:
        clips = self._plan.batch(_batch(row))
        patches = row["patches"].chunk(0)[0].as_buffer()
        events = unpack(row["order"][0].as_py(), patches, self._plan.patch_dtype)
        table, tally = self._tag(clips, events)
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return pa.table(
            {
                "staged": pa.array([sink.getvalue()], pa.large_binary()),
                "tally": [json.dumps(asdict(tally))],
            }
        )


def write_staged(row: pa.Table, shared: Shared) -> pa.Table:
    """Third operator of the GPU plan: {staged, tally} -> {receipt}."""
    with pa.ipc.open_stream(row["staged"].chunk(0)[0].as_buffer()) as reader:
        table = reader.read_all()
    return _receipt(ray.get(shared.plan), table, Tally(**json.loads(row["tally"][0].as_py())))


def _receipt(plan: Plan, table: pa.Table, tally: Tally) -> pa.Table:
    with tally.timed("staging"):
        file = stage(table, plan.store, plan.rows.model_id)
    return pa.table({"receipt": [json.dumps({"file": file, "tally": asdict(tally)})]})


def _clip_tagger(plan: Plan, shared: Shared) -> ClipTagger:
    from tagger.tagging import Tagger, pick_device, pick_precision

    device = pick_device()
    precision = plan.precision or pick_precision(device)
    return ClipTagger(Tagger(ray.get(shared.model), device, precision), plan.rows)


@cache
def _preprocessor(limits: Limits) -> Preprocessor:
    """One per worker process, so that its decoding process outlives the task."""
    return Preprocessor(limits)


def _batch(row: pa.Table) -> int:
    number: int = row["batch"][0].as_py()
    return number
