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
    """What clips probably are.

    Attributes
    ----------
    audio_s : seconds of audio
    decode_cpu_s : seconds of one core from bytes to patches
    cpu_s : seconds of one core from bytes to tags
    """

    audio_s: float
    decode_cpu_s: float
    cpu_s: float


def estimate(clips: pa.Table, card: Card) -> Work:
    """The work that clips (schema ``LISTING``) probably are for a model, from names and sizes."""
    audio_s = float(estimated_seconds(clips).sum()) - CLIP_COST_S * len(clips)
    segment_cpu_s = sum(embedding_cpu_s(VGGishConfig(**part.config)) for part in card.extractors)
    decode_cpu_s = CLIP_CPU_S * len(clips) + DECODE_CPU_S * audio_s
    return Work(audio_s, decode_cpu_s, decode_cpu_s + segment_cpu_s / SEGMENT_S * audio_s)


def useful_workers(clips: pa.Table, card: Card) -> int:
    """CPU workers that are worth the start of their nodes: each has a minute of work or more."""
    return math.ceil(estimate(clips, card).cpu_s / ALONE_S)
