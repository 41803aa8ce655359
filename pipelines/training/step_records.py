"""The record of a training step, ``_runs/<run_id>.json`` of a work folder."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.output import layout
from pipelines.output.run_records import RunState, new_run_id
from pipelines.runtime.packages import package_versions
from pipelines.runtime.signals import Interrupted
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.store import Store
from tagger.errors import CommandError


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
        store.write(layout.run_record(self.run_id), text.encode())


@contextmanager
def recorded(
    store: Store, verb: str, command: list[str], job: Any, fingerprint: str
) -> Iterator[StepRecord]:
    """The record of what is done inside, written when it starts and when it ends."""
    record = StepRecord(new_run_id(), verb, command, asdict(job), fingerprint)
    start = time.monotonic()
    record.write(store)
    record.state = RunState.FAILED
    try:
        yield record
        record.state = RunState.COMPLETE
    except Interrupted as interrupt:
        record.state, record.error = RunState.INTERRUPTED, str(interrupt)
        raise
    except (CommandError, AccessDenied, StoreUnavailable) as error:
        record.error = f"{type(error).__name__}: {error}"
        raise
    except BaseException:
        record.error = traceback.format_exc()
        raise
    finally:
        record.wall_s = round(time.monotonic() - start, 2)
        record.write(store)
