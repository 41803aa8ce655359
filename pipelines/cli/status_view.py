"""What ``status`` shows of an output: once, or again and again while a run goes on."""

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from pipelines.cli.terminal import failure_lines, show_json, show_lines
from pipelines.output.run_history import RunHistory
from pipelines.output.run_records import RunState
from pipelines.output.status import LAST_RUNS, ModelStatus, Status
from pipelines.runtime import standard_streams
from pipelines.runtime.progress import duration
from pipelines.runtime.signals import Interrupted, handled
from pipelines.storage.store import Store
from tagger.schema import NONE_OF_THESE

WATCH_S: Final = 3.0


def show_status(status: Status, as_json: bool) -> None:
    """What an output holds, and what is wrong with it."""
    if as_json:
        show_json(asdict(status))
        return
    for run in status.runs:
        show_lines(_run_lines(run))
    for model in status.models:
        show_lines(_model_lines(model))
    show_lines(f"WRONG       {line}" for line in status.broken)
    show_lines(f"unreadable  {line}" for line in status.unreadable)
    if status.n_to_erase:
        show_lines(
            [
                f"{status.n_to_erase:,} recordings are not yet erased, since a forget was "
                "interrupted; the next tag, forget or compact completes it"
            ]
        )


def watch(store: Store, interval_s: float = WATCH_S) -> None:
    """Show the runs that are at work until they have ended, or somebody sends SIGINT."""
    shown = 0
    try:
        while lines := [line for run in _at_work(store) for line in _run_lines(run)]:
            if shown and sys.stdout.isatty():
                standard_streams.put(f"\x1b[{shown}F\x1b[J")
            if not show_lines(lines):
                return
            shown = len(lines)
            time.sleep(interval_s)
    except Interrupted as end:
        if end.number != signal.SIGINT:
            raise
        handled()


def _at_work(store: Store) -> list[dict[str, Any]]:
    newest = islice(RunHistory(store), LAST_RUNS)
    return [run for run in newest if run["state"] == RunState.RUNNING]


def _run_lines(run: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"run {run['run_id']}  {run['state']:<12}{run['n_tagged']:>10,} tagged"
        f"{run['n_failed']:>8,} failed{run['audio_hours']:>10.2f} h  {run['model_id']}"
    )
    if n := run.get("n_none_of_these"):  # not in earlier versions
        yield f"    {n:,} of them {NONE_OF_THESE}"
    if run["state"] == RunState.RUNNING and run.get("heartbeat_at"):  # not in the first version
        yield f"    {', '.join(_how_far(run))}"


def _how_far(run: Mapping[str, Any]) -> Iterator[str]:
    """What the last heartbeat of a run told."""
    # A run of the first version counts clips, of which a recording had one.
    done = run.get("n_recordings") or run["n_tagged"] + run["n_failed"]
    yield f"{run['n_to_do'] - done:,} of {run['n_to_do']:,} clips to do"
    if run["under_way_s"]:
        yield f"{run['under_way_s'] / 3600:.2f} h more under way"
    yield f"{run['clips_per_s']:.1f} clips/s"
    if run["seconds_left"] is not None:
        yield f"{duration(run['seconds_left'])} left"
    ago = datetime.now(UTC) - datetime.fromisoformat(run["heartbeat_at"])
    yield f"told {duration(max(0.0, ago.total_seconds()))} ago"


def _model_lines(model: ModelStatus) -> Iterator[str]:
    yield f"model {model.model_id}: {model.n_tagged:,} clips in {model.n_entries:,} entries"
    for reason, n in sorted(model.open_failures.items()):
        yield f"  failed    {reason:<20}{n:,}"
    yield from failure_lines(model.failed_clips, sum(model.open_failures.values()))
    yield f"  waiting   {model.n_unpublished} entries, {model.n_staged} staged files"
    if model.n_set_aside:
        yield f"  aside     {model.n_set_aside:,} damaged files, in _damaged"
    if model.verified and not model.broken:
        yield f"  verified: {model.n_tagged:,} clips{_how_verified(model)}"
    for line in model.broken:
        yield f"  WRONG     {line}"
    if model.broken:
        yield (
            "  restore what is lost or changed from a copy; or have the clips of an entry done "
            "again (tag --redo-entry N), or the log made from the tables (rebuild-log)"
        )


def _how_verified(model: ModelStatus) -> str:
    if model.by_counts:
        return " by counts; --verify alone reads every byte"
    if model.n_unhashed:
        return f"; {model.n_unhashed:,} files by counts, as the first version wrote no hashes"
    return ""
