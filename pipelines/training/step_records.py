"""The record of a training step, ``_runs/<run_id>.json`` of a work folder."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pipelines.output import layout
from pipelines.output.run_records import RunState, json_bytes, new_run_id
from pipelines.runtime.errors import NO_DEFECTS
from pipelines.runtime.log_context import of_run
from pipelines.runtime.packages import package_versions
from pipelines.runtime.signals import Interrupted, arrived, when_interrupted
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.redaction import redacted
from pipelines.storage.store import Store

LAST_WRITE_S: Final = 1.0  # for a store to accept the record of a step that has failed


@dataclass
class StepRecord:
    """One step: what was asked, of which data, with what, and what came of it.

    Attributes
    ----------
    config : the job, as JSON
    fingerprint : of the data set
    error : one line; the whole traceback of what nobody foresaw
    metrics : what the step measured, as JSON
    """

    run_id: str
    verb: str
    command: list[str]
    config: dict[str, Any]
    fingerprint: str
    state: RunState = RunState.RUNNING
    wall_s: float = 0.0
    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=package_versions)

    def write(self, store: Store) -> None:
        """Replace what the work folder holds of the step."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        store.write(layout.run_record(self.run_id), json_bytes(text))


@contextmanager
def recorded(
    store: Store, verb: str, command: list[str], job: Any, fingerprint: str
) -> Iterator[StepRecord]:
    """The record of what is done inside, written when it starts and however it ends."""
    record = StepRecord(new_run_id(), verb, command, asdict(job), fingerprint)
    start = time.monotonic()

    def write_failed(error: BaseException) -> None:
        interrupted = isinstance(error, Interrupted)
        record.state = RunState.INTERRUPTED if interrupted else RunState.FAILED
        record.wall_s = round(time.monotonic() - start, 2)
        if isinstance(error, (Interrupted, *NO_DEFECTS)):
            record.error = f"{type(error).__name__}: {error}"
        else:
            record.error = redacted("".join(traceback.format_exception(error)))
        with suppress(AccessDenied, StoreUnavailable):
            record.write(store.with_patience(LAST_WRITE_S))

    record.write(store)
    with of_run(record.run_id), when_interrupted(write_failed):
        try:
            yield record
        except BaseException as error:
            write_failed(arrived() or error)
            raise
    record.state = RunState.COMPLETE
    record.wall_s = round(time.monotonic() - start, 2)
    record.write(store)
