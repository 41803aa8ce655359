"""What workers do to a batch of clips: plain callables, no Ray.

    preprocess   clips -> events    read, decode, trim, normalise, resample, log-mel (CPU)
    tag_events   events -> one staged row per clip (CPU or GPU)

An *event* is (row of the batch, what happened): the ``Signal`` of the clip when its bounds are
known, then its patches some at a time, and the ``Signal`` once more where these told more of it; or
the ``ClipError`` that ended it. A number says which audio track the events of a row that follow are
of (``tracks``). Events come in the order of the clips. On a CPU-only machine both run in one actor,
and a recording of ten hours passes through in pieces; between machines ``pack`` makes one record of
a batch's events and ``unpack`` replays them. A recording that is larger than such a record does not
travel.

How much audio a clip holds shows only when it is decoded: a few bytes may be a day. So a batch ends
after the clip with which it has ``MOST_PATCHES``; its other clips have no events and no rows.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.inputs.access import ANY, Access
from pipelines.inputs.reading import prefetch
from pipelines.output.tally import MODEL_STAGE, PATCHES_STAGE, Tally
from pipelines.runtime.isolation import Isolated
from pipelines.runtime.limits import Limits
from pipelines.runtime.work import estimated_seconds
from pipelines.tagging import tracks
from pipelines.tagging.decoding import DEFAULT_TRACK, decode_patches
from pipelines.tagging.staged_rows import RowSettings, TaggedClip, staged_rows
from tagger import audio
from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason, Stage
from tagger.heard import Heard, joined
from tagger.logmel import N_BANDS, PATCH_FRAMES, SILENCE
from tagger.schema import staged

if TYPE_CHECKING:
    from tagger.tagging import Tagger

T = TypeVar("T")
What = audio.Signal | FloatArray | ClipError
Event = tuple[int, int | What]

MOST_PATCHES: Final = 16_384  # more than four hours; 200 MB as float16
MOST_PACKED_BYTES: Final = 256 << 20


class Preprocessor:
    """Clips to events; owns the process in which clips are decoded.

    Parameters
    ----------
    access : how clips are read
    most_patches : a batch ends after the clip with which it has so many
    track : which audio tracks of a recording are taken
    """

    def __init__(
        self,
        limits: Limits,
        access: Access = ANY,
        most_patches: int = MOST_PATCHES,
        track: str = DEFAULT_TRACK,
    ) -> None:
        self._limits = limits
        self._access = access
        self._most_patches = most_patches
        self._track = track
        self._isolated = Isolated(limits.clip_timeout_s, limits.clip_memory_mb << 20)

    def __call__(self, clips: pa.Table) -> Iterator[Event]:
        """Events of a batch, a table of schema ``LISTING``, or of its first clips."""
        n_patches = 0
        n_bytes = 0
        for row, clip in enumerate(prefetch(clips, access=self._access)):
            if n_patches >= self._most_patches:
                return
            in_track = False
            try:
                with clip as source:
                    n_bytes = len(source) if isinstance(source, bytes) else source.stat().st_size
                    longest = self._limits.hours_of(n_bytes)
                    items = self._isolated.run(decode_patches, source, longest, self._track)
                    for item in items:
                        if isinstance(item, float):
                            self._isolated.allow(item * self._limits.clip_timeout_s)
                            continue
                        if isinstance(item, np.ndarray):
                            n_patches += len(item)
                        in_track = in_track or isinstance(item, int)
                        yield row, _with_size(item, n_bytes)
            except ClipError as error:
                if in_track:
                    yield row, 0  # whatever track it is of, it is one of the whole recording
                yield row, _with_size(error, n_bytes)

    @property
    def cpu_s(self) -> float:
        """CPU time of the process that decodes, so far."""
        return self._isolated.cpu_s

    def close(self) -> None:
        """End the process that decodes."""
        self._isolated.close()


def _with_size(item: T, n_bytes: int) -> T | ClipError:
    """The same; a recording that is too long is told with its size."""
    if isinstance(item, ClipError) and item.reason is Reason.TOO_LONG:
        return ClipError(item.reason, f"{item.detail} in {n_bytes:,} bytes", item.stage)
    return item


def pack(
    events: Iterable[Event], dtype: str, most_bytes: int = MOST_PACKED_BYTES
) -> tuple[str, pa.Buffer]:
    """A batch's events to travel: their order as JSON, and all patches laid end to end.

    Ends before the first clip whose patches do not fit as well.
    """
    order: list[tuple[int, str, Any]] = []
    patches = pa.BufferOutputStream()
    clip, n_before, bytes_before = -1, 0, 0
    for row, what in events:
        if row != clip:
            clip, n_before, bytes_before = row, len(order), patches.tell()
        if isinstance(what, ClipError):
            order.append((row, "error", (what.reason, what.detail, what.stage)))
        elif isinstance(what, audio.Signal):
            order.append((row, "signal", asdict(what)))
        elif isinstance(what, int):
            order.append((row, "track", what))
        elif patches.tell() + what.size * np.dtype(dtype).itemsize > most_bytes:
            return json.dumps(order[:n_before]), patches.getvalue().slice(0, bytes_before)
        else:
            order.append((row, "patches", len(what)))
            patches.write(what.astype(dtype))
    return json.dumps(order), patches.getvalue()


def unpack(order: str, data: pa.Buffer, dtype: str) -> Iterator[Event]:
    """The events of a packed batch; patches share the memory of ``data``."""
    patches = np.frombuffer(data, dtype).reshape(-1, PATCH_FRAMES, N_BANDS)
    start = 0
    for row, kind, what in json.loads(order):
        if kind == "error":
            reason, detail, stage = what
            yield row, ClipError(Reason(reason), detail, Stage(stage))
        elif kind == "signal":
            yield row, audio.Signal(**what)
        elif kind == "track":
            yield row, what
        else:
            yield row, patches[start : start + what]
            start += what


class ClipTagger:
    """Events to staged rows, with a model that is ready."""

    def __init__(self, tagger: "Tagger", settings: RowSettings) -> None:
        self._tagger = tagger
        self._settings = settings

    def __call__(self, clips: pa.Table, events: Iterable[Event]) -> tuple[pa.Table, Tally]:
        """One row of schema ``staged`` per clip that has events, of the first rows of the batch.

        Parameters
        ----------
        clips : the batch, schema ``LISTING``
        """
        tally = Tally()
        outcomes = self._outcomes(events, tally)
        if not outcomes:
            return staged(self._settings.output.embedding_dtype).empty_table(), tally
        keys = sorted(outcomes)
        ordered = [outcomes[key] for key in keys]
        tally.n_recordings = len({row for row, _ in keys})
        done = clips.slice(0, tally.n_recordings)
        tally.size_bytes = pc.sum(done["size_bytes"]).as_py()
        tally.expected_s = float(estimated_seconds(done).sum())
        for outcome in ordered:
            _count(outcome, tally)
        if tally.n_tagged:
            tally.precisions = {self._tagger.precision: tally.n_tagged}
        with tally.timed("rows"):
            rows = tracks.rows_of(clips, keys)
            return staged_rows(rows, ordered, self._tagger, self._settings), tally

    def _outcomes(
        self, events: Iterable[Event], tally: Tally
    ) -> dict[tracks.Key, TaggedClip | ClipError]:
        """What became of each clip; a failure of a recording is one of all its tracks."""
        found: dict[int, dict[int, audio.Signal | ClipError]] = defaultdict(dict)
        heard: dict[tracks.Key, list[Heard]] = defaultdict(list)
        for (row, track), what in self._embed(
            tracks.keyed(tally.waiting(events, PATCHES_STAGE)), tally
        ):
            if isinstance(what, Heard):
                heard[row, track].append(what)
                continue
            if isinstance(what, ClipError) and track == 0:
                found[row].clear()
            found[row][track] = what
        ends = {(row, track): end for row, of in found.items() for track, end in of.items()}
        tagged = {key: end for key, end in ends.items() if isinstance(end, audio.Signal)}
        outcomes = {key: end for key, end in ends.items() if isinstance(end, ClipError)}
        clips = [joined(heard[key]) for key in tagged]
        with tally.timed(MODEL_STAGE):
            predictions = self._tagger.predict([clip.embeddings for clip in clips])
            novelty = [*map(self._tagger.novelty_of, clips, predictions)]
        strange = [self._tagger.card.none_of_these(each) for each in novelty]
        vectors = [clip.embeddings for clip in clips]
        results = zip(tagged.values(), vectors, predictions, novelty, strange, strict=True)
        return outcomes | {
            key: TaggedClip(*result) for key, result in zip(tagged, results, strict=True)
        }

    def _embed(
        self, events: Iterable[tuple[tracks.Key, What]], tally: Tally
    ) -> Iterator[tuple[tracks.Key, audio.Signal | ClipError | Heard]]:
        """The events with what the model hears in place of patches (n, 96, 64).

        Patches of several clips pass through the extractors together, as a batch of the tagger's.
        """
        pool: list[tuple[tracks.Key, FloatArray]] = []
        for row, what in events:
            if not isinstance(what, np.ndarray):
                yield row, what
                continue
            pool.append((row, what))
            if sum(len(patches) for _, patches in pool) >= self._tagger.batch:
                yield from self._embed_pool(pool, tally)
                pool = []
        yield from self._embed_pool(pool, tally)

    def _embed_pool(
        self, pool: list[tuple[tracks.Key, FloatArray]], tally: Tally
    ) -> Iterator[tuple[tracks.Key, Heard]]:
        if not pool:
            return
        with tally.timed(MODEL_STAGE):
            heard = self._heard(np.concatenate([patches for _, patches in pool]))
        start = 0
        for row, patches in pool:
            yield row, heard.part(slice(start, start + len(patches)))
            start += len(patches)

    def _heard(self, patches: FloatArray) -> Heard:
        """What the model hears in patches, in digital silence only once.

        Its patches are all the same, and there may be a day of them.
        """
        silent = (patches == patches.dtype.type(SILENCE)).all(axis=(1, 2))
        if silent.sum() < 2:
            return self._tagger.hear(patches)
        place = np.cumsum(~silent)  # of each patch in what is embedded: silence first
        place[silent] = 0
        first = patches[silent.argmax()]
        return self._tagger.hear(np.concatenate([first[None], patches[~silent]])).part(place)


def _count(outcome: TaggedClip | ClipError, tally: Tally) -> None:
    """Add one clip."""
    if isinstance(outcome, ClipError):
        tally.failures[outcome.reason] = tally.failures.get(outcome.reason, 0) + 1
        return
    tally.n_tagged += 1
    tally.audio_s += outcome.signal.duration_s
    tally.n_segments += outcome.embeddings.shape[1]
    tally.n_none_of_these += bool(outcome.none_of_these)
