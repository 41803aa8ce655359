"""Staged rows of clips whose embeddings are there."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.retagging.embedded import Batch
from pipelines.tagging.staged_rows import RowSettings, TaggedClip, staged_rows
from tagger.arrays import FloatArray
from tagger.audio import Signal
from tagger.heard import Heard
from tagger.results import Prediction
from tagger.tagging import Tagger

NAMES: Final = ("clip_id", "uri", "version", "size_bytes", "extra")
"""Columns of ``clips`` that are the recording's own, whoever tags it."""


def retagged(
    batch: Batch, tagger: Tagger, settings: RowSettings, kept: Sequence[str] = NAMES
) -> pa.Table:
    """One row of schema ``staged`` per clip of a batch, as tagging it would give.

    Parameters
    ----------
    kept : columns of ``clips`` that stay as they are, beside those of the signal
    """
    rows, embeddings = batch.clips.to_pylist(), batch.embeddings
    predictions = tagger.predict(embeddings)
    novelty = [*map(partial(_novelty, tagger), rows, embeddings, predictions)]
    strange = map(tagger.card.none_of_these, novelty)
    found = zip(map(_signal, rows), embeddings, predictions, novelty, strange, strict=True)
    outcomes = [TaggedClip(*clip) for clip in found]
    return staged_rows(batch.clips.select(kept), outcomes, tagger, settings)


def _novelty(
    tagger: Tagger, row: dict[str, Any], embeddings: FloatArray, prediction: Prediction
) -> float | None:
    """As this model found it in the recording, or else as far as embeddings tell."""
    if row["model_id"] == tagger.card.model_id and row["novelty"] is not None:
        found: float = row["novelty"]
        return found
    unknown = np.empty((embeddings.shape[1], 0), np.float32)
    return tagger.novelty_of(Heard(embeddings, unknown), prediction)


def _signal(clip: dict[str, Any]) -> Signal:
    """What is known of a recording, from its row of ``clips``."""
    known = {name: clip[name] for name in Signal.__dataclass_fields__}
    recorded_at = known["recorded_at"]
    return Signal(**known | {"recorded_at": recorded_at and recorded_at.isoformat()})
