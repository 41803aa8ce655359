"""How much work a listing probably is, before anything of it was read.

It decides whether a cluster is worth its start, and is what ``--dry-run`` tells.
"""

import math
from dataclasses import dataclass

import pyarrow as pa

from pipelines.runtime.work import (
    ALONE_S,
    CLIP_COST_S,
    CLIP_CPU_S,
    DECODE_CPU_S,
    SEGMENT_S,
    embedding_cpu_s,
    estimated_seconds,
)
from tagger.card import Card
from tagger.configs import VGGishConfig


@dataclass(frozen=True)
class Work:
    """What clips probably are: hours of audio, and seconds of one core to tag them."""

    audio_s: float
    cpu_s: float


def estimate(clips: pa.Table, card: Card) -> Work:
    """The work that clips (schema ``LISTING``) probably are for a model, from names and sizes."""
    audio_s = float(estimated_seconds(clips).sum()) - CLIP_COST_S * len(clips)
    segment_cpu_s = sum(embedding_cpu_s(VGGishConfig(**part.config)) for part in card.extractors)
    per_second = DECODE_CPU_S + segment_cpu_s / SEGMENT_S
    return Work(audio_s, CLIP_CPU_S * len(clips) + per_second * audio_s)


def useful_workers(clips: pa.Table, card: Card) -> int:
    """CPU workers that are worth the start of their nodes: each has a minute of work or more."""
    return math.ceil(estimate(clips, card).cpu_s / ALONE_S)
