"""From what is known about a batch of clips to rows of schema ``staged``."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.output.settings import Settings, precision_kept
from pipelines.tagging.job import TagJob
from tagger.arrays import FloatArray
from tagger.audio import Signal
from tagger.calibration import CARD, Threshold
from tagger.card import Card
from tagger.errors import ClipError, OptionError
from tagger.events import EVENT_THRESHOLD
from tagger.logmel import FRONT_END
from tagger.readout import THRESHOLD, Readout
from tagger.recorded_at import by_pattern, from_name
from tagger.schema import EMBEDDING_SIZE, staged, tables
from tagger.segments import segment_times

if TYPE_CHECKING:
    from tagger.results import Prediction
    from tagger.tagging import Tagger


@dataclass(frozen=True)
class RowSettings:
    """What is the same for all rows of a run: what its output holds, and whose rows they are."""

    output: Settings
    model_id: str
    run_id: str
    recorded_at: str | None = None

    @classmethod
    def of(cls, job: TagJob, model_id: str, run_id: str) -> Self:
        """For rows that go to no output."""
        return cls(asked_settings(job), model_id, run_id, job.recorded_at)


THRESHOLDS: Final[dict[str, Any]] = {
    "threshold": THRESHOLD,
    "event_threshold": EVENT_THRESHOLD,
}
"""Settings that a job may leave to the card, and what they are for a card without thresholds."""


def left_out(job: TagJob) -> list[str]:
    """The settings that a job leaves to an output that has been begun."""
    return [name for name in THRESHOLDS if getattr(job, name) is None]


def thresholds(settings: Settings) -> dict[str, Threshold]:
    """The thresholds that hold for an output, whether a job has asked for them or left them out."""
    return {name: getattr(settings, name) for name in THRESHOLDS}


def output_settings(job: TagJob, card: Card) -> Settings:
    """What a job begins its output with, in the words in which the output keeps it.

    Raises
    ------
    OptionError : as ``require_thresholds``
    """
    require_thresholds(job, card)
    asked = asked_settings(job)
    if card.calibration:
        return asked
    return replace(asked, **{name: THRESHOLDS[name] for name in left_out(job)})


def require_thresholds(job: TagJob, card: Card) -> None:
    """OptionError where a job asks for the thresholds of a card that has none."""
    for name in THRESHOLDS:
        if getattr(job, name) == CARD and not card.calibration:
            raise OptionError(
                name, f"cannot be card: that of {card.name} has no thresholds; give a number"
            )


def asked_settings(job: TagJob) -> Settings:
    """What a job asks of its output; what it leaves out are the thresholds of the card."""
    names = tables(job.embedding_dtype)
    return Settings(
        tables=tuple(name for name in names if job.embeddings or name != "embeddings"),
        top_k=job.top_k,
        threshold=CARD if job.threshold is None else job.threshold,
        embedding_dtype=job.embedding_dtype,
        front_end=json.dumps(FRONT_END),
        least_bags=1 if job.timeline else 2,
        event_threshold=CARD if job.event_threshold is None else job.event_threshold,
        event_gap_s=job.event_gap_s,
        track=job.track,
        precision=precision_kept(job.resources.precision),
    )


@dataclass(frozen=True)
class TaggedClip:
    """A clip that was tagged.

    Attributes
    ----------
    embeddings : (n_extractors, n_segments, 128) float32
    novelty, none_of_these : as of ``tagger.results.Result``
    """

    signal: Signal
    embeddings: FloatArray
    prediction: "Prediction"
    novelty: float | None = None
    none_of_these: bool | None = None


def staged_rows(
    clips: pa.Table,
    outcomes: Sequence[TaggedClip | ClipError],
    tagger: "Tagger",
    settings: RowSettings,
) -> pa.Table:
    """One row of schema ``staged`` per clip of the batch (schema ``LISTING``), in order."""
    schema = staged(settings.output.embedding_dtype)
    same = {
        "model_id": settings.model_id,
        "run_id": settings.run_id,
        "processed_at": datetime.now(UTC),
    }
    rows: list[dict[str, Any]] = [same | _row(outcome, tagger, settings) for outcome in outcomes]
    by_name = settings.recorded_at and by_pattern(settings.recorded_at)
    for row, uri in zip(rows, clips["uri"].to_pylist(), strict=True):
        row["recorded_at"] = by_name(uri) if by_name else _recorded_at(uri, row.get("recorded_at"))
    kept = [
        outcome.embeddings
        if isinstance(outcome, TaggedClip) and "embeddings" in settings.output.tables
        else np.empty((len(tagger.extractors), 0, EMBEDDING_SIZE), np.float32)
        for outcome in outcomes
    ]
    values = np.concatenate([clip.reshape(-1) for clip in kept])
    ready = {
        **{name: clips[name] for name in clips.column_names},
        "embedding_rows": _embedding_rows(kept, rows, tagger, schema),
        "embedding_values": _lists(kept, values, schema, "embedding_values"),
    }
    columns = [
        ready[column.name]
        if column.name in ready
        else pa.array([row.get(column.name) for row in rows], column.type)
        for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _row(
    outcome: TaggedClip | ClipError, tagger: "Tagger", settings: RowSettings
) -> dict[str, Any]:
    """The columns that a clip's own outcome decides, its embeddings apart."""
    if isinstance(outcome, ClipError):
        return {
            "stage": outcome.stage,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "final": outcome.reason.final,
            "tags": [],
            "timeline": [],
            "events": [],
        }
    signal = outcome.signal
    n_segments = outcome.embeddings.shape[1]
    output = settings.output
    readout = Readout.of(
        tagger.card,
        output.top_k,
        output.threshold,
        output.event_threshold,
        output.event_gap_s,
    )
    read = (
        outcome.prediction,
        segment_times(n_segments, signal.content_start_s, signal.content_end_s),
    )
    over_time = len(outcome.prediction.bag_scores) >= output.least_bags
    return {
        **asdict(signal),
        "n_segments": n_segments,
        "novelty": outcome.novelty,
        "none_of_these": outcome.none_of_these,
        "tags": [vars(tag) for tag in readout.tags(*read)],
        "timeline": [vars(moment) for moment in readout.timeline(*read)] if over_time else [],
        "events": [vars(event) for event in readout.events(*read)],
    }


def _recorded_at(uri: str, in_header: str | None) -> datetime | None:
    """When a recording was made: by its header, else by its name."""
    return datetime.fromisoformat(in_header) if in_header else from_name(uri)


def _embedding_rows(
    kept: Sequence[FloatArray], rows: Sequence[dict[str, Any]], tagger: "Tagger", schema: pa.Schema
) -> pa.Array:
    """Extractor, segment and times of each embedding; no Python object a row."""
    names = np.array([part.name for part in tagger.card.extractors])
    extractor: list[npt.NDArray[Any]] = []
    segment: list[npt.NDArray[Any]] = []
    start_s: list[npt.NDArray[Any]] = []
    end_s: list[npt.NDArray[Any]] = []
    for clip, row in zip(kept, rows, strict=True):
        n_extractors, n_segments, _ = clip.shape
        if not n_segments:
            continue
        times = segment_times(n_segments, row["content_start_s"], row["content_end_s"])
        extractor.append(np.repeat(names, n_segments))
        segment.append(np.tile(np.arange(n_segments, dtype=np.int32), n_extractors))
        start_s.append(np.tile(times[0], n_extractors))
        end_s.append(np.tile(times[1], n_extractors))
    fields = list(schema.field("embedding_rows").type.value_type)
    columns = [
        pa.array(np.concatenate(parts) if parts else [], field.type)
        for parts, field in zip((extractor, segment, start_s, end_s), fields, strict=True)
    ]
    structs = pa.StructArray.from_arrays(columns, fields=fields)
    return _lists([clip[..., 0] for clip in kept], structs, schema, "embedding_rows")


def _lists(parts: Sequence[FloatArray], values: Any, schema: pa.Schema, column: str) -> pa.Array:
    """A list column with as many of ``values``, in order, as each part has elements."""
    kind = schema.field(column).type
    offsets = np.concatenate([[0], np.cumsum([part.size for part in parts])])
    if isinstance(values, np.ndarray):
        values = pa.array(values.astype(kind.value_type.to_pandas_dtype()), kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind)
