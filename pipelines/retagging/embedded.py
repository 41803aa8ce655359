"""Clips of a published entry with their embeddings, some at a time."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Marker
from pipelines.output.markers import read_marker, read_published, read_row_groups
from tagger import schema
from tagger.arrays import FloatArray
from tagger.errors import CommandError

MOST_SEGMENTS: Final = 16_384
"""Of a batch: more than four hours of audio."""


_COLUMNS: Final = ("clip_id", "extractor", "segment", "embedding")


class Batch(NamedTuple):
    """Some clips, a row of the table ``clips`` each, and the embeddings of each.

    Attributes
    ----------
    embeddings : (n_extractors, n_segments, 128) float32 of each clip
    """

    clips: pa.Table
    embeddings: list[FloatArray]


class _Rows(NamedTuple):
    """The rows of one clip in the table ``embeddings``."""

    clip_id: str
    extractor: "np.ndarray[tuple[int], np.dtype[np.object_]]"
    segment: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    vectors: FloatArray


def read_clips(log: CommitLog, number: int, fields: pa.Schema) -> pa.Table:
    """Columns of the table ``clips`` of an entry that is published; DamagedFile too."""
    entry, marker = log.entry(number), _marker(log, number)
    paths = entry.outputs.get("clips", ())
    parts = [read_published(log.store, marker, number, path, fields) for path in paths]
    return pa.concat_tables([fields.empty_table(), *parts])


def batches(
    log: CommitLog, number: int, extractors: Sequence[str], dtype: str, wanted: pa.Array
) -> Iterator[Batch]:
    """The clips of a published entry that are ``wanted``, in the order of their embeddings.

    Parameters
    ----------
    extractors : whose embeddings, in the order in which they are given
    dtype : of the stored embeddings
    wanted : clip_ids

    Raises
    ------
    DamagedFile : a table file is gone, or was changed since it was published
    CommandError : a clip has no embeddings, or not all
    """
    clips = read_clips(log, number, schema.tables(dtype)["clips"])
    clips = clips.filter(pc.is_in(clips["clip_id"], value_set=wanted))
    if not len(clips):
        return
    row_of = {clip_id: row for row, clip_id in enumerate(clips["clip_id"].to_pylist())}
    n_segments = clips["n_segments"].to_pylist()
    rows: list[int] = []
    embeddings: list[FloatArray] = []
    for of_clip in _by_clip(log, log.entry(number), dtype):
        row = row_of.pop(of_clip.clip_id, None)
        if row is None:
            continue
        rows.append(row)
        embeddings.append(_in_order(of_clip, extractors, n_segments[row]))
        if sum(clip.shape[1] for clip in embeddings) >= MOST_SEGMENTS:
            yield Batch(clips.take(rows), embeddings)
            rows, embeddings = [], []
    if row_of:
        raise CommandError(_incomplete(next(iter(row_of))))
    if rows:
        yield Batch(clips.take(rows), embeddings)


def _by_clip(log: CommitLog, entry: Entry, dtype: str) -> Iterator[_Rows]:
    """The embeddings of an entry, clip by clip; a clip's rows follow each other."""
    fields = schema.tables(dtype)["embeddings"]
    fields = pa.schema([fields.field(name) for name in _COLUMNS])
    marker = _marker(log, entry.number)
    left = fields.empty_table()
    for path in entry.outputs.get("embeddings", ()):
        for group in read_row_groups(log.store, marker, entry.number, path, fields):
            rows = pa.concat_tables([left, group]).combine_chunks()
            last = pc.equal(rows["clip_id"], rows["clip_id"][-1]) if len(rows) else None
            n_whole = pc.index(last, True).as_py() if last is not None else 0
            yield from _clips(rows.slice(0, n_whole))
            left = rows.slice(n_whole)
    yield from _clips(left.combine_chunks())


def _clips(rows: pa.Table) -> Iterator[_Rows]:
    """Rows of whole clips, clip by clip."""
    if not len(rows):
        return
    ids = rows["clip_id"].combine_chunks().dictionary_encode()
    starts = np.flatnonzero(np.diff(ids.indices.to_numpy(), prepend=-1))
    vectors = rows["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    columns = (
        rows["extractor"].to_numpy(),
        rows["segment"].to_numpy(),
        vectors.reshape(-1, schema.EMBEDDING_SIZE),
    )
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        yield _Rows(rows["clip_id"][int(start)].as_py(), *(part[start:end] for part in columns))


def _in_order(rows: _Rows, extractors: Sequence[str], n_segments: int) -> FloatArray:
    """The embeddings of a clip, (n_extractors, n_segments, 128) float32."""
    found = np.empty((len(extractors), n_segments, schema.EMBEDDING_SIZE), np.float32)
    for name, place in zip(extractors, found, strict=True):
        mine = rows.extractor == name
        if not np.array_equal(np.sort(rows.segment[mine]), np.arange(n_segments)):
            raise CommandError(_incomplete(rows.clip_id))
        place[rows.segment[mine]] = rows.vectors[mine]
    return found


def _incomplete(clip_id: str) -> str:
    return f"clip {clip_id} has not all of its embeddings: status --verify tells more"


def _marker(log: CommitLog, number: int) -> Marker:
    return read_marker(log.store, log.model_id, number) or Marker({})
