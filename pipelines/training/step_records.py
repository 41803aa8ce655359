"""The record of a training step, ``_runs/<run_id>.json`` of a work folder."""

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, Final

from pipelines.output import layout
from pipelines.output.run_records import RunState, new_run_id
from pipelines.runtime.log_context import of_run
from pipelines.storage.store import Store

_VERSIONS_OF: Final = ("ray", "torch", "numpy", "pyarrow", "scipy", "soundfile", "soxr", "av")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    found = {name: version(name) for name in _VERSIONS_OF}
    return {"python": platform.python_version()} | found


@dataclass
class TrainRecord:
    """One step: what was asked, of which data, with what, and what came of it."""

    run_id: str
    verb: str
    command: list[str]
    config: dict[str, Any]
    fingerprint: str
    state: RunState = RunState.RUNNING
    wall_s: float = 0.0
    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=versions)

    def write(self, store: Store) -> None:
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        store.write(layout.run_record(self.run_id), text.encode())


@contextmanager
def recorded(
    store: Store, verb: str, command: list[str], job: Any, fingerprint: str
) -> Iterator[TrainRecord]:
    """The record of what is done inside, written when it starts and when it ends."""
    record = TrainRecord(new_run_id(), verb, command, asdict(job), fingerprint)
    start = time.monotonic()
    record.write(store)
    record.state = RunState.FAILED
    try:
        with of_run(record.run_id):
            yield record
        record.state = RunState.COMPLETE
    except BaseException as error:
        record.error = f"{type(error).__name__}: {error}".splitlines()[0]
        raise
    finally:
        record.wall_s = round(time.monotonic() - start, 2)
        record.write(store)
