"""While a run goes on its record says so: it is written again every some seconds.

So whoever reads ``_runs/<run_id>.json``, on whatever machine, sees how far a run is.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from pipelines.output.run_records import RunRecord
from pipelines.storage.store import Store

HEARTBEAT_S: Final = 10.0

_PATIENCE_S: Final = 2.0
_LARGEST_SHARE: Final = 0.05
"""Of the time, that beats may take: on a slow store they come more rarely."""

_log = logging.getLogger(__name__)


class Heartbeat:
    """Context manager in which a thread writes a record every ``interval_s``.

    A beat that the store does not take is left out; the next one says it all.

    Parameters
    ----------
    look : called before each beat, in the thread, to bring the record up to date
    interval_s : seconds between beats; None: ``HEARTBEAT_S``
    """

    def __init__(
        self,
        record: RunRecord,
        store: Store,
        look: Callable[[], None],
        interval_s: float | None = None,
    ) -> None:
        self._record = record
        self._store = store.with_patience(_PATIENCE_S)
        self._look = look
        self._interval_s = interval_s or HEARTBEAT_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()  # a beat on its way has its turn before the final record (``RunRecord``)

    def _keep_beating(self) -> None:
        pause_s = self._interval_s
        while not self._ended.wait(pause_s):
            self._look()
            began = time.monotonic()
            try:
                self._record.beat(self._store)
            except OSError as problem:  # AccessDenied, StoreUnavailable; the bucket is gone
                _log.info("a heartbeat is left out: %s", problem)
            pause_s = max(self._interval_s, (time.monotonic() - began) / _LARGEST_SHARE)
