"""``status``: what an output holds, what waits, how its runs ended, and whether all is whole."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from pipelines.output import layout, verification
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import DamagedFile
from pipelines.output.failed_clips import FailedClip, failed_clips
from pipelines.output.forgotten import Forgotten
from pipelines.output.inventory import models_begun, strangers, table_files_by_model
from pipelines.output.run_history import RunHistory, alarm
from pipelines.output.settings import read_settings
from pipelines.output.verification import How, Verified
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
    n_set_aside : damaged files that were moved to below ``_damaged``
    verified : whether ``broken`` was looked for
    by_counts : it was looked for by counts alone
    broken : what is damaged and which invariants do not hold, one line each; of what is not
        verified only a log that cannot be read
    n_unhashed : verified table files without a hash, of which only the rows were counted
    """

    model_id: str
    n_entries: int
    n_tagged: int
    open_failures: dict[str, int]
    n_unpublished: int
    n_staged: int
    failed_clips: tuple[FailedClip, ...] = ()
    n_set_aside: int = 0
    verified: bool = False
    by_counts: bool = False
    broken: tuple[str, ...] = ()
    n_unhashed: int = 0

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
    broken : what of the output is damaged, the files of a model apart
    """

    models: tuple[ModelStatus, ...]
    runs: tuple[dict[str, Any], ...]
    unreadable: tuple[str, ...]
    alarm: str | None
    n_to_erase: int
    broken: tuple[str, ...] = ()


def status(
    store: Store,
    verify: How | None = None,
    last: int = LAST_RUNS,
    most_failures: int | None = MOST_FAILURES,
    longest: timedelta | None = None,
) -> Status:
    """Read what an output says of itself; with ``verify`` compare all tables with the log.

    Parameters
    ----------
    verify : how the tables are compared, see ``verification``; None: not at all
    last : runs to tell of, at most
    most_failures : failed clips to name of each model, at most; None: all
    longest : since the last complete run, before ``alarm`` tells; None: it never does

    Raises
    ------
    CommandError : not an output of this program
    """
    broken: list[str] = []
    try:
        read_settings(store)
        n_to_erase = len(Forgotten.read(store).pending)
    except DamagedFile as damaged:
        broken, n_to_erase = [str(damaged)], 0
    history = RunHistory(store)
    runs = tuple(islice(history, last))[::-1]
    why = alarm(history, longest) if longest is not None else None
    files = table_files_by_model(store) if verify else {}
    model_ids = [] if broken else sorted(models_begun(store) | files.keys())
    found = [_model(store, m, files.get(m, []), verify, most_failures) for m in model_ids]
    if verify:
        broken += [f"{path} is no file of a log; remove it" for path in strangers(store)]
    begun = tuple(model for model in found if model.is_begun)
    return Status(begun, runs, tuple(history.unreadable), why, n_to_erase, tuple(broken))


def _model(
    store: Store, model_id: str, files: list[str], how: How | None, most_failures: int | None
) -> ModelStatus:
    """One model, with the files of its tables."""
    n_set_aside = sum(model_id in layout.models_of(path) for path in store.list(layout.DAMAGED))
    empty = ModelStatus(
        model_id,
        *(0, 0, {}, 0, 0),
        n_set_aside=n_set_aside,
        verified=bool(how),
        by_counts=how == "counts",
    )
    try:
        commit_log = CommitLog(store, model_id)
        unpublished = commit_log.refresh()
        found = Verified([], 0)
        if how:
            found = verification.verify(store, commit_log, files, how)
    except DamagedFile as damaged:
        return replace(empty, broken=(f"{damaged.line}: {damaged.mend}",))
    _, waiting = commit_log.staged_leftovers()
    failed = commit_log.failed()
    return replace(
        empty,
        n_entries=commit_log.n_entries,
        n_tagged=len(commit_log.tagged()),
        open_failures=dict(Counter(failed["reason"].to_pylist())),
        n_unpublished=len(unpublished),
        n_staged=len(waiting),
        failed_clips=_named(store, model_id, failed, most_failures),
        broken=tuple(found.broken),
        n_unhashed=found.n_unhashed,
    )


def _named(
    store: Store, model_id: str, failed: pa.Table, most: int | None
) -> tuple[FailedClip, ...]:
    """The clips that failed (``FAILED``), by name; those of unpublished entries have none yet."""
    attempts = set(zip(failed["clip_id"].to_pylist(), failed["run_id"].to_pylist(), strict=True))
    n = min(len(attempts), most if most is not None else len(attempts))
    found = failed_clips(store, model_id, lambda clip: (clip.clip_id, clip.run_id) in attempts, n)
    return tuple(found)
