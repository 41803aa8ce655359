"""How much work a listing probably is, before anything of it was read.

Rates are rough on purpose: they decide whether a cluster is worth its start, and what ``--dry-run``
tells. They were measured on two cores of an x86 server with AVX2: decoding to patches 14 ms for a
clip of 5 s, and 40 to 100 GFLOP/s a core in the extractors.
"""

import math
import os
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipelines.tagging.batches import CLIP_COST_S, estimated_seconds
from pipelines.tagging.job import TagJob
from tagger.card import Card
from tagger.configs import VGGishConfig
from tagger.logmel import N_BANDS, PATCH_FRAMES, PATCH_HOP, SAMPLE_RATE_HZ

CLIP_CPU_S: Final = 0.005  # opening a clip, whatever its length
DECODE_CPU_S: Final = 0.003  # per second of audio, from bytes to patches
FLOP_PER_CPU_S: Final = 60e9  # in float32 on one core

ALONE_S: Final = 60.0
"""A job that is shorter on one core is done before a cluster has started and ended."""

SEGMENT_S: Final = PATCH_HOP / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Work:
    """What clips probably are: hours of audio, and seconds of one core to tag them."""

    audio_s: float
    cpu_s: float


def estimate(clips: pa.Table, card: Card) -> Work:
    """The work that clips (schema ``LISTING``) probably are for a model, from names and sizes."""
    audio_s = float(estimated_seconds(clips).sum()) - CLIP_COST_S * len(clips)
    flop = sum(flop_per_patch(VGGishConfig(**part.config)) for part in card.extractors)
    per_second = DECODE_CPU_S + flop / SEGMENT_S / FLOP_PER_CPU_S
    return Work(audio_s, CLIP_CPU_S * len(clips) + per_second * audio_s)


def useful_workers(clips: pa.Table, card: Card) -> int:
    """CPU workers that are worth the start of their nodes: each has a minute of work or more."""
    return math.ceil(estimate(clips, card).cpu_s / ALONE_S)


def fits_one_process(job: TagJob, clips: pa.Table, card: Card) -> bool:
    """Whether a job is too small for a cluster, and nobody asked for one."""
    asked = (os.environ.get("RAY_ADDRESS"), job.resources.cpus, job.resources.gpus)
    if any(part is not None for part in asked):
        return False
    return estimate(clips, card).cpu_s < ALONE_S


def flop_per_patch(config: VGGishConfig) -> float:
    """Floating point operations of one patch's way through VGGish, two per multiplication."""
    one, two, three, four = config.conv_widths
    n_pixels = PATCH_FRAMES * N_BANDS
    convolutions = (
        (n_pixels, one),
        (n_pixels // 4, one * two),
        (n_pixels // 16, two * three + three * three),
        (n_pixels // 64, three * four + four * four),
    )
    flat = four * n_pixels // 256
    dense = flat * config.hidden + config.hidden**2 + config.hidden * 128
    return 2.0 * (9 * sum(pixels * weights for pixels, weights in convolutions) + dense)
