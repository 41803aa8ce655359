"""The record of a run, ``_runs/<run_id>.json``: what was asked, how far it is, what came of it."""

import json
import secrets
import threading
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pipelines.output import layout
from pipelines.output.tally import Tally
from pipelines.storage.store import Store


class RunState(StrEnum):
    RUNNING = "running"  # or killed before it could say so
    COMPLETE = "complete"
    OVER_BUDGET = "over_budget"  # complete, with more failures than --max-failed
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass
class RunRecord:
    """One run; ``write`` replaces what the output holds of it.

    A heartbeat may ``beat`` from another thread meanwhile. Both take turns, so that no beat lands
    after the final record. ``tally`` is replaced, never changed, for the same thread.

    Attributes
    ----------
    labelling : whether the model gives scores of one label a clip, or of several
    skipped : entries of the inputs that were passed over, by kind (``pipelines.inputs.skipped``)
    n_gpus : GPUs that the networks ran on
    to_do_s : seconds of audio that the clips to do are taken for, from their names and sizes
    under_way_s : seconds of audio that are done of batches which are not
    expected_under_way_s : the same as part of ``to_do_s``
    """

    run_id: str
    command: list[str]
    config: dict[str, Any]
    model_id: str
    labelling: str = "one"
    state: RunState = RunState.RUNNING
    started_at: str = field(default_factory=lambda: _now())
    ended_at: str | None = None
    error: str | None = None
    n_listed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    n_recovered_entries: int = 0
    n_done_before: int = 0
    n_given_up: int = 0
    n_forgotten: int = 0
    n_to_do: int = 0
    n_gpus: int = 0
    to_do_s: float = 0.0
    under_way_s: float = 0.0
    expected_under_way_s: float = 0.0
    work_began_at: str | None = None
    heartbeat_at: str | None = None
    tally: Tally = field(default_factory=Tally)
    entries: list[int] = field(default_factory=list)
    n_retries: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    def summary(self) -> dict[str, Any]:
        """The record as plain JSON values, with the derived figures people ask for."""
        plain = asdict(self)
        tally = plain.pop("tally")
        n_worked_on = self.tally.n_tagged + self.tally.n_failed
        started = datetime.fromisoformat(self.started_at)
        wall_s = (datetime.fromisoformat(self.ended_at or _now()) - started).total_seconds()
        return {
            **tally,
            **plain,
            "n_failed": self.tally.n_failed,
            "audio_hours": self.tally.audio_s / 3600,
            "wall_s": wall_s,
            "clips_per_s": n_worked_on / wall_s if wall_s else 0.0,
            "under_way_s": self.under_way_s if self.state == RunState.RUNNING else 0.0,
            "seconds_left": self.seconds_left(),
        }

    def seconds_left(self) -> float | None:
        """Until the clips are done, if it goes on as before; None while nothing tells."""
        done_s = min(self.tally.expected_s + self.expected_under_way_s, self.to_do_s)
        if self.state != RunState.RUNNING or not self.work_began_at or not done_s:
            return None
        began = datetime.fromisoformat(self.work_began_at)
        so_far_s = (datetime.fromisoformat(_now()) - began).total_seconds()
        return so_far_s * (self.to_do_s / done_s - 1.0)

    def begin_work(self, expected_s: float) -> None:
        """Take note that the clips to do, taken for so much audio, are begun with."""
        self.to_do_s, self.work_began_at = expected_s, _now()

    def end(self, state: RunState, error: str | None = None) -> None:
        self.state, self.error, self.ended_at = state, error, _now()

    def write(self, store: Store) -> None:
        """Write the record, after a beat that is being written; raises as the store does."""
        with self._turn:
            self._write(store)

    def beat(self, store: Store) -> None:
        """Write the record unless the run has ended; raises as the store does."""
        with self._turn:
            if self.state == RunState.RUNNING:
                self._write(store)

    def _write(self, store: Store) -> None:
        self.heartbeat_at = _now()
        text = json.dumps(self.summary(), indent=2, ensure_ascii=False)
        store.write(layout.run_record(self.run_id), json_bytes(text))


def json_bytes(text: str) -> bytes:
    """JSON in UTF-8; of a name that is none, the bytes that are none as JSON's escapes."""
    return text.encode(errors="backslashreplace")


def read_record(store: Store, path: str) -> dict[str, Any]:
    """What a record says; FileNotFoundError too.

    Raises
    ------
    ValueError : it is no JSON object
    """
    try:
        plain = json.loads(store.read(path))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(plain, dict):
        raise ValueError("no object")
    return plain


def new_run_id() -> str:
    """A name for a run. Names sort by time, and no two are the same."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
