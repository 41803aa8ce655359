"""What to do when an object store does not answer as hoped.

A store that does not answer is no clip's failure: the call is repeated with growing, jittered
pauses for about two minutes, then the job ends with ``StoreUnavailable``. Refused credentials end
it at once with ``AccessDenied``. What concerns one object only (missing, changed, not permitted)
passes through untouched. The retries of s3fs and botocore themselves are switched off
(``pipelines.storage.filesystems.filesystem``), so that every repetition is counted here.

A manifest may name thousands of hosts, some of which are gone for good: ``of_many_hosts`` waits for
one host once, and for the next dead host half as long.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from pipelines.storage.errors import (
    HOW_TO_LOG_IN,
    AccessDenied,
    BrokeOff,
    StoreUnavailable,
    is_transient,
    one_line,
    refused_credentials,
    store_errors,
)

PATIENCE_S: Final = 120.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
AWAY_S: Final = 600.0  # before a host that gave out is asked again

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class _Total:
    """How many calls this process has repeated."""

    def __init__(self) -> None:
        self.n = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.n += 1


_total = _Total()


class RetryCount:
    """How many calls this process has repeated since the count was made."""

    def __init__(self) -> None:
        self._before = _total.n

    @property
    def n(self) -> int:
        return _total.n - self._before


def with_retries(call: Callable[[], _T], what: str, patience_s: float = PATIENCE_S) -> _T:
    """The result of ``call()``, repeated while the store fails in ways that pass.

    Parameters
    ----------
    call : does one thing that may be done twice
    what : names it in messages, such as ``"reading s3://bucket/key"``
    patience_s : seconds of trying after which ``StoreUnavailable`` is raised

    Raises
    ------
    StoreUnavailable : still failing after ``patience_s``
    AccessDenied : no, expired or wrong credentials
    """
    deadline = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except (AccessDenied, StoreUnavailable):
            raise
        except store_errors() as error:
            if refused_credentials(error):
                raise AccessDenied(f"{what}: {one_line(error)}; {HOW_TO_LOG_IN}") from error
            if not is_transient(error):
                raise
            if time.monotonic() + pause_s > deadline:
                raise StoreUnavailable(
                    f"{what}: no answer in {patience_s:.0f} s: {one_line(error)}"
                ) from error
            _log.info("%s: trying again after %s", what, one_line(error))
        _total.add()
        time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 (a pause)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class _Away:
    """Hosts that did not answer in all the time that they were given, and when that was seen."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def add(self, host: str) -> None:
        self._since[host] = time.monotonic()

    def holds(self, host: str) -> bool:
        return time.monotonic() - self._since.get(host, -AWAY_S) < AWAY_S

    def __len__(self) -> int:
        return len(self._since)


_away = _Away()


def of_many_hosts(call: Callable[[], _T], host: str, what: str, patience_s: float) -> _T:
    """``with_retries`` of a request to one of many hosts, of which some may be dead.

    A host that gave out is not asked again for ``AWAY_S``. Each that did halves the patience with
    the others, so that however many are dead, all of them take no longer than two.

    Raises
    ------
    StoreUnavailable : the host does not answer, or did not a moment ago
    """
    if _away.holds(host):
        raise StoreUnavailable(f"{what}: the host has not answered before")
    try:
        return with_retries(call, what, patience_s / 2 ** len(_away))
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, BrokeOff):
            _away.add(host)
        raise
