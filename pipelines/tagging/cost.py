"""What a run will probably cost: hours of computing, bytes of tables, money."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.run_records import read_record
from pipelines.output.tally import MODEL_STAGE
from pipelines.runtime.limits import Resources
from pipelines.runtime.work import SEGMENT_S
from pipelines.storage.store import Store
from pipelines.tagging.estimate import estimate
from pipelines.tagging.job import TagJob
from tagger.card import Card

CLIP_BYTES: Final = 700  # of a clip's rows in clips and tags
EMBEDDING_BYTES: Final = {"float32": 260, "float16": 150}
"""Measured over 40 clips of 5 s with the bundled model, zstd; half of its numbers are 0."""

LEAST_AUDIO_S: Final = 600.0
"""Earlier runs tell a rate when they have tagged as much; their start weighs too much before."""

BUILT_IN: Final = "a measurement on a server with AVX2, as no earlier run of this output tells one"
NO_GPU_RATE: Final = "nothing: no earlier run of this output has used GPUs, and none is built in"


@dataclass(frozen=True)
class Cost:
    """What a run will probably cost.

    Attributes
    ----------
    audio_hours : of the clips to work on, from their names and sizes
    cpu_hours : of one core
    gpu_hours : of one GPU; 0: the run uses none; None: nobody knows yet
    hours : on as many cores and GPUs as were asked for; None: nobody said how many
    output_bytes : of the tables
    money : in the currency of the prices; None: a price that it takes was not given
    rate : where the seconds per second of audio come from
    """

    audio_hours: float
    cpu_hours: float
    gpu_hours: float | None
    hours: float | None
    output_bytes: int
    money: float | None
    rate: str


@dataclass
class _Spent:
    """What earlier runs spent, in seconds of one core, of one GPU and of audio."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    audio_s: float = 0.0
    n_runs: int = 0


def cost(clips: pa.Table, card: Card, job: TagJob, store: Store) -> Cost:
    """The cost of clips (schema ``LISTING``), by the rate of earlier runs where there are any."""
    work = estimate(clips, card)
    on_cpus, on_gpus = _earlier_runs(store, card.model_id)
    asked = job.resources.gpus
    uses_gpus = bool(asked) or (asked is None and on_gpus.audio_s >= LEAST_AUDIO_S)
    before = on_gpus if uses_gpus else on_cpus
    cpu_s, gpu_s, rate = work.cpu_s, 0.0 if not uses_gpus else None, BUILT_IN
    if before.audio_s >= LEAST_AUDIO_S:
        cpu_s = work.audio_s * before.cpu_s / before.audio_s
        gpu_s = work.audio_s * before.gpu_s / before.audio_s
        hours = f"{before.audio_s / 3600:.1f} h of audio"
        rate = f"{before.n_runs} earlier runs of this output, {hours}"
    elif uses_gpus:
        cpu_s, rate = work.decode_cpu_s, NO_GPU_RATE
    n_rows = work.audio_s / SEGMENT_S * len(card.extractors) if job.embeddings else 0.0
    return Cost(
        audio_hours=work.audio_s / 3600,
        cpu_hours=cpu_s / 3600,
        gpu_hours=None if gpu_s is None else gpu_s / 3600,
        hours=_hours(cpu_s, gpu_s, job.resources),
        output_bytes=round(CLIP_BYTES * len(clips) + EMBEDDING_BYTES[job.embedding_dtype] * n_rows),
        money=_money(cpu_s, gpu_s, job),
        rate=rate,
    )


def _hours(cpu_s: float, gpu_s: float | None, resources: Resources) -> float | None:
    """How long the run takes: CPUs and GPUs work at the same time."""
    if gpu_s is None or resources.cpus is None or (gpu_s and not resources.gpus):
        return None
    return max(cpu_s / resources.cpus, gpu_s / (resources.gpus or 1)) / 3600


def _money(cpu_s: float, gpu_s: float | None, job: TagJob) -> float | None:
    if job.price_per_hour is None or gpu_s is None:
        return None
    if gpu_s and job.price_per_gpu_hour is None:
        return None
    return (cpu_s * job.price_per_hour + gpu_s * (job.price_per_gpu_hour or 0.0)) / 3600


def _earlier_runs(store: Store, model_id: str) -> tuple[_Spent, _Spent]:
    """What runs on CPUs alone spent, and what runs with GPUs did; broken records tell nothing."""
    on_cpus, on_gpus = _Spent(), _Spent()
    for path in store.list(layout.RUNS):
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            record = read_record(store, path)
            if record.get("model_id") == model_id and record.get("audio_s"):
                spent = _spent_by(record)
                total = on_gpus if record.get("n_gpus") else on_cpus
                total.cpu_s += spent.cpu_s
                total.gpu_s += spent.gpu_s
                total.audio_s += spent.audio_s
                total.n_runs += 1
    return on_cpus, on_gpus


def _spent_by(record: dict[str, Any]) -> _Spent:
    """What one run spent."""
    spent = _Spent(audio_s=float(record["audio_s"]))
    seconds = {stage: float(s) for stage, s in record["seconds"].items()}
    model_s = seconds.pop(MODEL_STAGE, 0.0)
    if record.get("n_gpus"):
        spent.gpu_s = record["config"]["resources"]["gpus_per_actor"] * model_s
    else:
        spent.cpu_s = model_s
    spent.cpu_s += sum(seconds.values())
    return spent
