"""A worker tells how far it is in the batch at hand, as the events of its clips pass."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.runtime.work import estimated_seconds
from pipelines.tagging.board import Done
from pipelines.tagging.stages import Event
from tagger.audio import Signal
from tagger.errors import ClipError
from tagger.logmel import SEGMENT_S

TELL_S: Final = 5.0


def telling(
    events: Iterable[Event],
    clips: pa.Table,
    tell: Callable[[Done], object],
    interval_s: float = TELL_S,
) -> Iterator[Event]:
    """The same events; every ``interval_s`` it is told what is done of the batch.

    The length of a clip is known when its ``Signal`` comes, before its patches do. So of a long
    recording the part that is done is right, whatever its name and size had promised.

    Parameters
    ----------
    clips : the batch, schema ``LISTING``
    """
    expected_s = estimated_seconds(clips)
    n_segments, content_s, passed_s = 0, SEGMENT_S, 0.0
    of = -1
    due = time.monotonic() + interval_s
    for row, what in events:
        yield row, what
        if isinstance(what, Signal):
            if row != of:  # else of another track, or once more with all notes
                content_s, passed_s = max(what.content_end_s - what.content_start_s, SEGMENT_S), 0.0
            of = row
        elif isinstance(what, np.ndarray):
            n_segments += len(what)
            passed_s += len(what) * SEGMENT_S
        elif isinstance(what, ClipError):
            passed_s = content_s  # nothing more comes of a clip that fails
        if time.monotonic() >= due:
            part = min(passed_s / content_s, 1.0) * expected_s[row]
            tell(Done(n_segments, float(expected_s[:row].sum() + part)))
            due = time.monotonic() + interval_s
