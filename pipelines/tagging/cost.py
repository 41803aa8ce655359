"""What a run will probably cost: hours of computing, bytes of tables, money."""

import json
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipelines.output import layout
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


@dataclass(frozen=True)
class Cost:
    """What a run will probably cost.

    Attributes
    ----------
    audio_hours : of the clips to work on, from their names and sizes
    cpu_hours : of one core
    hours : on as many cores as were asked for; None: nobody said how many
    output_bytes : of the tables
    money : in the currency of the price; None: no price was given
    rate : where the CPU seconds per second of audio come from
    """

    audio_hours: float
    cpu_hours: float
    hours: float | None
    output_bytes: int
    money: float | None
    rate: str


def cost(clips: pa.Table, card: Card, job: TagJob, store: Store) -> Cost:
    """The cost of clips (schema ``LISTING``), by the rate of earlier runs where there are any."""
    work = estimate(clips, card)
    cpu_s, rate = work.cpu_s, BUILT_IN
    spent_s, tagged_s, n_runs = _earlier_runs(store, card.model_id)
    if tagged_s >= LEAST_AUDIO_S:
        cpu_s = work.audio_s * spent_s / tagged_s
        rate = f"{n_runs} earlier runs of this output, {tagged_s / 3600:.1f} h of audio"
    n_cpus, price = job.resources.cpus, job.price_per_hour
    n_rows = work.audio_s / SEGMENT_S * len(card.extractors) if job.embeddings else 0.0
    return Cost(
        audio_hours=work.audio_s / 3600,
        cpu_hours=cpu_s / 3600,
        hours=cpu_s / 3600 / n_cpus if n_cpus else None,
        output_bytes=round(CLIP_BYTES * len(clips) + EMBEDDING_BYTES[job.embedding_dtype] * n_rows),
        money=None if price is None else cpu_s / 3600 * price,
        rate=rate,
    )


def _earlier_runs(store: Store, model_id: str) -> tuple[float, float, int]:
    """Seconds that workers spent on audio, seconds of that audio, and in how many runs."""
    spent_s = audio_s = 0.0
    n_runs = 0
    for path in store.list(layout.RUNS):
        record = json.loads(store.read(path))
        if record.get("model_id") == model_id and record.get("audio_s"):
            spent_s += sum(record["seconds"].values())
            audio_s += record["audio_s"]
            n_runs += 1
    return spent_s, audio_s, n_runs
