"""Audio tracks as clips of their own (``TagJob.track`` is ``all``).

The default track stands for its recording, under the recording's own URI and clip_id. Each other
track is one more row, ``URI#track=2``, in the same staged file. So what a run has to do is decided
by recordings alone: one is done when its default track is tagged, or has failed for good. A failure
that may pass, of any track, is one of the whole recording, and the next run takes up all of it.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
import pyarrow as pa

from pipelines.storage.uris import track_id, track_uri

T = TypeVar("T")
Key = tuple[int, int]
"""A clip in a batch: its row there, and the number of its track, 0 for the recording itself."""


def keyed(events: Iterable[tuple[int, int | T]]) -> Iterator[tuple[Key, T]]:
    """Events of rows as those of clips; a number tells which track of its row comes next."""
    current, track = -1, 0
    for row, what in events:
        if row != current:
            current, track = row, 0
        if isinstance(what, int):
            track = what
        else:
            yield (row, track), what


def rows_of(clips: pa.Table, keys: Iterable[Key]) -> pa.Table:
    """A row of schema ``LISTING`` for each clip.

    Parameters
    ----------
    clips : the batch, schema ``LISTING``
    """
    rows, tracks = zip(*keys, strict=True)
    found = clips.take(np.array(rows))
    for place, track in enumerate(tracks):
        if track:
            found = _with_track(found, place, track)
    return found


def _with_track(clips: pa.Table, place: int, track: int) -> pa.Table:
    (clip,) = clips.slice(place, 1).to_pylist()
    clip["clip_id"] = track_id(clip["uri"], clip["version"], track)
    clip["uri"] = track_uri(clip["uri"], track)
    row = pa.Table.from_pylist([clip], clips.schema)
    return pa.concat_tables([clips.slice(0, place), row, clips.slice(place + 1)])
