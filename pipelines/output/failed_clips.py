"""Clips that failed, by name: the log counts them, the table says which they are, and why."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.parquet_files import UnreadableError, read_columns
from pipelines.output.run_records import RunRecord
from pipelines.storage.store import Store

_PATIENCE_S: Final = 5.0
_COLUMNS: Final = pa.schema(
    [(name, pa.string()) for name in ("clip_id", "run_id", "uri", "reason", "detail")]
)


@dataclass(frozen=True)
class FailedClip:
    """A clip, the run that tried it last, and why it failed; uri and detail hold any characters."""

    clip_id: str
    run_id: str
    uri: str
    reason: str
    detail: str


def failed_clips(
    store: Store,
    model_id: str,
    is_wanted: Callable[[FailedClip], bool],
    most: int | None = None,
    since: str = "",
) -> list[FailedClip]:
    """The wanted rows of a model's table of failures, the newest files first.

    Parameters
    ----------
    most : stop reading when there are so many; None: read all files
    since : YYYY-MM-DD; files of earlier days are not read
    """
    return list(islice(filter(is_wanted, _rows(store, model_id, since)), most))


def failed_in_run(store: Store, record: RunRecord, most: int = 10) -> list[FailedClip]:
    """Some clips that failed in a run that has ended; none where the store does not answer soon."""
    n = min(most, record.tally.n_failed)
    day = record.started_at[: len("YYYY-MM-DD")]
    try:
        return failed_clips(
            store.with_patience(_PATIENCE_S),
            record.model_id,
            lambda clip: clip.run_id == record.run_id,
            n,
            day,
        )
    except OSError:
        return []


def _rows(store: Store, model_id: str, since: str) -> Iterator[FailedClip]:
    for path in reversed(store.list(layout.model_tables("failures", model_id))):
        if layout.date_of_table(path) < since:
            return
        try:
            rows = read_columns(store, path, _COLUMNS).to_pylist()
        except (FileNotFoundError, UnreadableError):  # ``verification`` tells of such files
            continue
        for row in rows:
            yield FailedClip(**row)
