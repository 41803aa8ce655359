"""``status``: what an output holds, what waits, and whether every invariant holds."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.forgotten import Forgotten
from pipelines.output.inventory import models, table_files_by_model
from pipelines.output.lock import is_alive
from pipelines.output.run_records import RunState
from pipelines.output.settings import read_settings
from pipelines.output.verification import broken
from pipelines.storage.store import Store


@dataclass(frozen=True)
class ModelStatus:
    """What an output holds of one model.

    Attributes
    ----------
    n_tagged : clips that the log counts
    open_failures : clips whose last attempt failed, by reason
    n_unpublished : entries of the log whose tables are not complete yet
    n_staged : staged files that no entry counts yet
    broken : invariants that do not hold, one line each; empty unless they were verified
    """

    model_id: str
    n_entries: int
    n_tagged: int
    open_failures: dict[str, int]
    n_unpublished: int
    n_staged: int
    broken: tuple[str, ...] = field(default=())

    @property
    def is_begun(self) -> bool:
        """Whether there is anything of it; of a retired model there is an empty entry."""
        counts = self.n_tagged, self.n_unpublished, self.n_staged
        return any(counts) or bool(self.open_failures) or bool(self.broken)


@dataclass(frozen=True)
class Status:
    """An output: its models, and its runs from the oldest to the newest.

    Attributes
    ----------
    n_to_erase : recordings that a ``forget`` which was cut short has yet to erase
    """

    models: tuple[ModelStatus, ...]
    runs: tuple[dict[str, Any], ...]
    n_to_erase: int


def status(store: Store, verify: bool = False) -> Status:
    """Read what an output says of itself; with ``verify`` count all tables against the log.

    Raises
    ------
    CommandError : not an output of this program
    """
    read_settings(store)
    files = table_files_by_model(store) if verify else None
    found = (
        _model(store, model_id, None if files is None else files.get(model_id, []))
        for model_id in models(store)
    )
    n_to_erase = len(Forgotten.read(store).pending)
    return Status(
        tuple(model for model in found if model.is_begun), tuple(_runs(store)), n_to_erase
    )


def _model(store: Store, model_id: str, files: list[str] | None) -> ModelStatus:
    """One model; verified where ``files``, those of its tables, are given."""
    commit_log = CommitLog(store, model_id)
    unpublished = commit_log.refresh()
    _, waiting = commit_log.staged_leftovers()
    failed = commit_log.failed()
    return ModelStatus(
        model_id,
        commit_log.n_entries,
        len(commit_log.tagged()),
        dict(Counter(failed["reason"].to_pylist())),
        len(unpublished),
        len(waiting),
        () if files is None else tuple(broken(store, commit_log, files)),
    )


def _runs(store: Store) -> Iterator[dict[str, Any]]:
    """The records of tag runs; one that says ``running`` without a living owner was killed."""
    for path in store.list(layout.RUNS):
        record = _record(store, path)
        if "model_id" not in record:  # a step of the training
            continue
        running = record["state"] == RunState.RUNNING
        if running and not is_alive(store, record["model_id"], record["run_id"]):
            record = _record(store, path)  # it may have ended meanwhile
            if record["state"] == RunState.RUNNING:
                record["state"] = "killed"
        yield record


def _record(store: Store, path: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(store.read(path))
    return record
