"""The runs of an output, read back from their records: what they came to, and when to worry."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pipelines.output import layout
from pipelines.output.lock import is_alive, is_broken
from pipelines.output.run_records import RunState, read_record
from pipelines.storage.store import Store

KILLED: Final = "killed"
"""State of a run whose record says ``running`` and whose owner is dead."""


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("not a number")
    return number


_NEEDED: Final[dict[str, Callable[[Any], Any]]] = {
    "run_id": str,
    "model_id": str,
    "state": str,
    "started_at": str,
    "n_tagged": int,
    "n_failed": int,
    "audio_hours": _finite,
}
_OF_A_HEARTBEAT: Final[dict[str, Callable[[Any], Any]]] = {
    "n_to_do": int,
    "under_way_s": _finite,
    "clips_per_s": _finite,
}


class RunHistory:
    """The runs of an output, the newest first, each read when it is asked for.

    Attributes
    ----------
    unreadable : a line for each record or lock that was met and cannot be read
    """

    def __init__(self, store: Store) -> None:
        self.unreadable: list[str] = []
        self._store = store
        self._paths = store.list(layout.RUNS)[::-1]
        self._read: dict[str, dict[str, Any] | None] = {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self._paths:
            if path not in self._read:
                self._read[path] = self._run(path)
            run = self._read[path]
            if run is not None:
                yield run

    def _run(self, path: str) -> dict[str, Any] | None:
        """A run of ``tag``, or None; where its owner is dead, ``running`` means killed."""
        run = self._record(path)
        if run is None or run["state"] != RunState.RUNNING or self._is_alive(run):
            return run
        run = self._record(path)  # it may have ended meanwhile
        if run is not None and run["state"] == RunState.RUNNING:
            run["state"] = KILLED
        return run

    def _record(self, path: str) -> dict[str, Any] | None:
        try:
            record = read_record(self._store, path)
            if "model_id" not in record:  # a step of the training
                return None
            record |= {name: kind(record[name]) for name, kind in _NEEDED.items()}
            if record.get("heartbeat_at"):  # not in the first version
                record |= {name: kind(record[name]) for name, kind in _OF_A_HEARTBEAT.items()}
                record["heartbeat_at"] = _time(record["heartbeat_at"]).isoformat()
                record["n_recordings"] = int(record.get("n_recordings") or 0)
                left = record["seconds_left"]
                record["seconds_left"] = None if left is None else _finite(left)
            _ended_at(record)
        except FileNotFoundError:  # removed meanwhile
            return None
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            self.unreadable.append(f"{path} is no record of a run ({type(error).__name__})")
            return None
        else:
            return record

    def _is_alive(self, run: dict[str, Any]) -> bool:
        if is_broken(self._store, run["model_id"]):
            self.unreadable.append(f"{layout.lock(run['model_id'])} is no lock of a job")
        return is_alive(self._store, run["model_id"], run["run_id"])


def alarm(runs: RunHistory, longest: timedelta, now: datetime | None = None) -> str | None:
    """Why somebody should look after an output, in a line; None when all is well.

    All is well when the last run that has ended is complete and ended within ``longest``. Where
    several models were run within that time, this holds for the last run of each.

    Parameters
    ----------
    now : None: the time of this machine
    """
    now = now or datetime.now(UTC)
    models: set[str] = set()
    for run in runs:
        if run["state"] == RunState.RUNNING or run["model_id"] in models:
            continue
        ago = now - _ended_at(run)
        if models and ago > longest:
            break
        if run["state"] != RunState.COMPLETE:
            return f"run {run['run_id']} of {run['model_id']} {_how_it_ended(run)}"
        if ago > longest:
            hours = ago.total_seconds() / 3600
            return f"the last complete run, {run['run_id']}, ended {hours:,.1f} h ago"
        models.add(run["model_id"])
    return None if models else "no run has ended yet"


def _ended_at(run: dict[str, Any]) -> datetime:
    """When a run ended, or last said that it was at work."""
    told = run.get("ended_at") or run.get("heartbeat_at") or run["started_at"]
    return _time(told)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _how_it_ended(run: dict[str, Any]) -> str:
    if run["state"] == RunState.OVER_BUDGET:
        n = run["n_failed"] + run["n_tagged"]
        return f"was over its failure budget: {run['n_failed']:,} of {n:,} clips failed"
    if run["state"] == RunState.FAILED:
        lines = str(run.get("error") or "").strip().splitlines()
        return f"failed: {lines[-1] if lines else 'no word of why'}"
    return f"was {run['state']}"
