"""One shard of ``prepare``: clips read, decoded in a process of their own, made into patches."""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.inputs.reading import prefetch
from pipelines.runtime.isolation import Isolated
from pipelines.runtime.limits import Limits
from pipelines.training.clip_takes import Take, decode_takes
from pipelines.training.workfolder.patches import FAILURES, PATCHES
from tagger.arrays import FloatArray
from tagger.errors import ClipError
from tagger.excerpt import Stretch
from tagger.logmel import SAMPLE_RATE_HZ


def make_shard(
    clips: pa.Table, takes: list[list[Take]], limits: Limits
) -> tuple[pa.Table, pa.Table]:
    """Patches and failures of some clips; a clip that fails at one take has none at all."""
    isolated = _isolated(limits)
    rows: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for clip, opened, of_clip in zip(clips.to_pylist(), prefetch(clips), takes, strict=True):
        try:
            with opened as source:
                longest = limits.hours_of(clip["size_bytes"])
                made = list(isolated.run(decode_takes, source, of_clip, longest, _stretch(clip)))
            rows += [_row(clip, *pair) for pair in zip(of_clip, made, strict=True)]
        except ClipError as error:
            why = {"stage": error.stage, "reason": error.reason, "detail": error.detail}
            failures.append(clip | why)
    return (
        pa.Table.from_pylist(rows, schema=PATCHES),
        pa.Table.from_pylist(failures, schema=FAILURES),
    )


def _stretch(clip: dict[str, Any]) -> Stretch | None:
    """What of its recording a clip is; None: the whole."""
    if clip["start_s"] is None and clip["end_s"] is None:
        return None
    return Stretch(clip["start_s"] or 0.0, clip["end_s"], clip["may_be_cut"])


def _row(clip: dict[str, Any], take: Take, patches: FloatArray) -> dict[str, Any]:
    return clip | {
        "copy": take.copy,
        "n_semitones": take.n_semitones,
        "offset_s": take.offset / SAMPLE_RATE_HZ,
        "n_patches": len(patches),
        "patches": patches.astype(np.float16).tobytes(),
    }


@cache
def _isolated(limits: Limits) -> Isolated:
    """One per worker process."""
    return Isolated(limits.clip_timeout_s, limits.clip_memory_mb << 20)
