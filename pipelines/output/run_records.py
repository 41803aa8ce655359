"""The record of a run, ``_runs/<run_id>.json``: what was asked, what came of it."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pipelines.output import layout
from pipelines.output.tally import Tally
from pipelines.storage.store import Store


class RunState(StrEnum):
    RUNNING = "running"  # or killed without a word
    COMPLETE = "complete"
    OVER_BUDGET = "over_budget"  # complete, with more failures than --max-failed
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass
class RunRecord:
    """One run; ``write`` replaces what the output holds of it."""

    run_id: str
    command: list[str]
    config: dict[str, Any]
    model_id: str
    state: RunState = RunState.RUNNING
    started_at: str = field(default_factory=lambda: _now())
    ended_at: str | None = None
    error: str | None = None
    n_listed: int = 0
    n_recovered_entries: int = 0
    n_done_before: int = 0
    n_given_up: int = 0
    n_forgotten: int = 0
    n_to_do: int = 0
    tally: Tally = field(default_factory=Tally)
    entries: list[int] = field(default_factory=list)
    n_retries: int = 0
    versions: dict[str, str] = field(default_factory=dict)

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
        }

    def end(self, state: RunState, error: str | None = None) -> None:
        self.state, self.error, self.ended_at = state, error, _now()

    def write(self, store: Store) -> None:
        text = json.dumps(self.summary(), indent=2, ensure_ascii=False)
        store.write(layout.run_record(self.run_id), text.encode())


def new_run_id() -> str:
    """Sorts by time, and never meets another."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
