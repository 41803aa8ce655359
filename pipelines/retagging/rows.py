"""Staged rows of clips whose embeddings are there."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from pipelines.retagging.embedded import Batch
from pipelines.tagging.staged_rows import RowSettings, TaggedClip, staged_rows
from tagger.audio import Signal
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
    predictions = tagger.predict(batch.embeddings)
    signals = map(_signal, batch.clips.to_pylist())
    outcomes = [
        TaggedClip(*clip) for clip in zip(signals, batch.embeddings, predictions, strict=True)
    ]
    return staged_rows(batch.clips.select(kept), outcomes, tagger, settings)


def _signal(clip: dict[str, Any]) -> Signal:
    """What is known of a recording, from its row of ``clips``."""
    known = {name: clip[name] for name in Signal.__dataclass_fields__}
    recorded_at = known["recorded_at"]
    return Signal(**known | {"recorded_at": recorded_at and recorded_at.isoformat()})
