"""``status``: what an output holds, what waits, how its runs ended, and whether all is whole."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from pipelines.output.commit_log import CommitLog
from pipelines.output.failed_clips import FailedClip, failed_clips
from pipelines.output.forgotten import Forgotten
from pipelines.output.inventory import models_begun, table_files_by_model
from pipelines.output.run_history import RunHistory, alarm
from pipelines.output.settings import read_settings
from pipelines.output.verification import broken
from pipelines.storage.store import Store

LAST_RUNS: Final = 10
MOST_FAILURES: Final = 10


@dataclass(frozen=True)
class ModelStatus:
    """What an output holds of one model.

    Attributes
    ----------
    n_tagged : clips that the log counts
    open_failures : clips whose last attempt failed, by reason
    n_unpublished : entries of the log whose tables are not complete yet
    n_staged : staged files that no entry counts yet
    failed_clips : the clips behind ``open_failures`` that are in the tables, or the newest of them
    verified : whether ``broken`` was looked for
    broken : invariants that do not hold, one line each; empty unless they were verified
    """

    model_id: str
    n_entries: int
    n_tagged: int
    open_failures: dict[str, int]
    n_unpublished: int
    n_staged: int
    failed_clips: tuple[FailedClip, ...] = ()
    verified: bool = False
    broken: tuple[str, ...] = ()

    @property
    def is_begun(self) -> bool:
        """Whether there is anything of it; of a retired model there is an empty entry."""
        counts = self.n_tagged, self.n_unpublished, self.n_staged
        return any(counts) or bool(self.open_failures) or bool(self.broken)


@dataclass(frozen=True)
class Status:
    """An output: its models, and its last runs from the oldest to the newest.

    Attributes
    ----------
    unreadable : a line for each record of a run, or lock, that cannot be read
    alarm : why somebody should look after the output, in a line
    n_to_erase : recordings that a ``forget`` which was cut short has yet to erase
    """

    models: tuple[ModelStatus, ...]
    runs: tuple[dict[str, Any], ...]
    unreadable: tuple[str, ...]
    alarm: str | None
    n_to_erase: int


def status(
    store: Store,
    verify: bool = False,
    last: int = LAST_RUNS,
    most_failures: int | None = MOST_FAILURES,
    longest: timedelta | None = None,
) -> Status:
    """Read what an output says of itself; with ``verify`` count all tables against the log.

    Parameters
    ----------
    last : runs to tell of, at most
    most_failures : failed clips to name of each model, at most; None: all
    longest : since the last complete run, before ``alarm`` tells; None: it never does

    Raises
    ------
    CommandError : not an output of this program
    """
    read_settings(store)
    history = RunHistory(store)
    runs = tuple(islice(history, last))[::-1]
    why = alarm(history, longest) if longest is not None else None
    files = table_files_by_model(store) if verify else {}
    found = (
        _model(store, model_id, files.get(model_id, []) if verify else None, most_failures)
        for model_id in sorted(models_begun(store) | files.keys())
    )
    begun = tuple(model for model in found if model.is_begun)
    n_to_erase = len(Forgotten.read(store).pending)
    return Status(begun, runs, tuple(history.unreadable), why, n_to_erase)


def _model(
    store: Store, model_id: str, files: list[str] | None, most_failures: int | None
) -> ModelStatus:
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
        _named(store, model_id, failed, most_failures),
        files is not None,
        () if files is None else tuple(broken(store, commit_log, files)),
    )


def _named(
    store: Store, model_id: str, failed: pa.Table, most: int | None
) -> tuple[FailedClip, ...]:
    """The clips that failed (``FAILED``), by name; those of unpublished entries have none yet."""
    attempts = set(zip(failed["clip_id"].to_pylist(), failed["run_id"].to_pylist(), strict=True))
    n = min(len(attempts), most if most is not None else len(attempts))
    found = failed_clips(store, model_id, lambda clip: (clip.clip_id, clip.run_id) in attempts, n)
    return tuple(found)
