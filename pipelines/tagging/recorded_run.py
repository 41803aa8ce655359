"""A run upon an open output: its lock is held, and its record stays true however it ends."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from pipelines.output.lock import Lock
from pipelines.output.run_records import RunRecord, RunState
from pipelines.runtime.errors import NO_DEFECTS
from pipelines.runtime.log_context import of_run
from pipelines.runtime.signals import End, Interrupted, arrived, when_interrupted
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.redaction import redacted
from pipelines.storage.store import Store

LAST_WRITE_S: Final = 1.0  # for a store to take the record of a run that was told to end


@contextmanager
def recorded(
    record: RunRecord, store: Store, lock: Lock, max_failed: float = 1.0
) -> Iterator[None]:
    """Around the work of a run; SIGTERM and the like end it in good order.

    Parameters
    ----------
    lock : of the run's model; it is held meanwhile
    max_failed : fraction of clips that may fail in a run that is complete

    Raises
    ------
    CommandError : another job holds the lock
    """

    def write_interrupted_record(end: End) -> None:
        record.end(_state_of(end), str(end))
        with suppress(AccessDenied, StoreUnavailable):
            record.write(store.with_patience(LAST_WRITE_S))
        lock.release()

    with (
        of_run(record.run_id),
        lock,
        when_interrupted(write_interrupted_record),
        _ending(record, store, max_failed),
    ):
        yield


@contextmanager
def _ending(record: RunRecord, store: Store, max_failed: float) -> Iterator[None]:
    """Have the output's record of the run say how it ended."""
    record.write(store)
    try:
        yield
    except BaseException as error:
        why = arrived() or error
        told = isinstance(why, (Interrupted, *NO_DEFECTS))
        record.end(_state_of(why), str(why) if told else redacted(traceback.format_exc()))
        with suppress(AccessDenied, StoreUnavailable):
            record.write(store.with_patience(LAST_WRITE_S))
        raise
    n_failed = record.tally.n_failed
    over = n_failed > max_failed * (n_failed + record.tally.n_tagged)
    record.end(RunState.OVER_BUDGET if over else RunState.COMPLETE)
    record.write(store)


def _state_of(error: BaseException) -> RunState:
    return RunState.INTERRUPTED if isinstance(error, Interrupted) else RunState.FAILED
