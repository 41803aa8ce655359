"""The courtesy lock: one job at a time per output and model (design 4).

It spares people a job that does another's work again. Nothing rests on it: the log stays right
with any number of writers (``ledger``).

The owner rewrites ``_lock/<model_id>.json`` with a counter that grows. Whoever finds a lock watches
the counter and compares no clocks: if it moves, the owner lives. An owner that is known to be dead
(a process of this host) is followed at once.
"""

import json
import logging
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pipelines.retry import AccessDenied, StoreUnavailable
from pipelines.store import Store
from tagger.errors import CommandError

_log = logging.getLogger(__name__)

_PATIENCE_S: Final = 2.0
"""A beat that the store does not take is left out, so that a job can end within seconds."""


class Lock:
    """Context manager that holds the lock; entering raises CommandError when another job does.

    Parameters
    ----------
    store, model_id : what is locked
    run_id : told to whoever is refused
    beat_s : seconds between beats
    silence_s : seconds without a beat after which an owner counts as dead

    Attributes
    ----------
    lost : another job has taken over (this one had fallen silent); better end
    """

    def __init__(
        self,
        store: Store,
        model_id: str,
        run_id: str,
        beat_s: float = 5.0,
        silence_s: float = 20.0,
    ) -> None:
        self.lost = False
        self._store = store
        self._path = f"_lock/{model_id}.json"
        self._me: dict[str, Any] = {
            "owner": uuid.uuid4().hex,
            "run_id": run_id,
            "host": _host(),
            "pid": os.getpid(),
            "started": _started(os.getpid()),
        }
        self._beat = 0
        self._beat_s = beat_s
        self._silence_s = silence_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="lock", daemon=True)

    def __enter__(self) -> Self:
        while not self._store.create(self._path, self._content()):
            found = self._find()
            if found is not None:
                self._wait_for_silence(found)
                self._store.write(self._path, self._content())
                _log.warning("took over the lock of run %s, which is dead", found["run_id"])
                break
        self._store = self._store.with_patience(_PATIENCE_S)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock up; nothing happens when it is given up, or taken over, already."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)
        try:
            if self._is_mine():
                self._store.remove([self._path])
        except (StoreUnavailable, AccessDenied) as problem:
            _log.warning("the lock stays behind: %s", problem)

    def _content(self) -> bytes:
        return json.dumps({**self._me, "beat": self._beat}).encode()

    def _find(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self._store.read(self._path))
        except FileNotFoundError:
            return None
        return found

    def _is_mine(self) -> bool:
        found = self._find()
        return found is not None and found["owner"] == self._me["owner"]

    def _wait_for_silence(self, first: dict[str, Any]) -> None:
        """Return when the owner is dead; raise CommandError when it is not."""
        is_here = first["host"] == self._me["host"]
        give_up = time.monotonic() + self._silence_s
        while time.monotonic() < give_up:
            if is_here and _started(first["pid"]) != first["started"]:
                return
            time.sleep(min(1.0, self._beat_s / 4))
            found = self._find()
            if found is None:
                return
            if found != first:
                raise CommandError(
                    f"another job (run {found['run_id']}, process {found['pid']} on "
                    f"{found['host'].split('/')[0]}) is writing to {self._store.root}: "
                    "let it end, or stop it"
                )

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                if not self._is_mine():
                    self.lost = True
                    _log.warning("another job has taken over the lock")
                    return
                self._beat += 1
                self._store.write(self._path, self._content())
            except (StoreUnavailable, AccessDenied) as problem:
                _log.warning("the lock could not be renewed: %s", problem)


def holder(store: Store, path: str) -> str | None:
    """The run that a lock file names; None when it is gone."""
    try:
        run_id: str = json.loads(store.read(path))["run_id"]
    except FileNotFoundError:
        return None
    return run_id


def _host() -> str:
    """Name this host, as far as process numbers are shared: containers may share its name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():  # not Linux: process numbers are not looked up there
        return f"{platform.node()}/{uuid.uuid4().hex}"
    return f"{platform.node()}/{boot.read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116


def _started(pid: int) -> str | None:
    """When a living process began, in the kernel's ticks; numbers of processes are used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]  # dead, but its parent has not asked
