"""The courtesy lock: one job at a time per output and model.

It keeps two jobs from doing the same work. Nothing else rests on it: the log stays right with any
number of writers (``commit_log``).

The owner rewrites ``_lock/<model_id>.json`` with a counter that grows. Whoever finds a lock watches
the counter, and compares no clocks. If the counter moves, the owner is alive, and the newcomer is
refused. If it stands still, the newcomer takes over. An owner on this host whose process has ended
is followed at once. A lock that somebody has removed is made anew by its owner, and one that is
broken too: until then it is that of an unknown owner.
"""

import logging
import os
import platform
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pipelines.output import layout
from pipelines.output.damage import seal, unseal
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from pipelines.storage.store import Store
from tagger.errors import CommandError

_log = logging.getLogger(__name__)

BEAT_S: Final = 5.0
SILENCE_S: Final = 20.0

_KINDS: Final = {"owner": str, "run_id": str, "host": str, "pid": int}
_UNKNOWN: Final[dict[str, Any]] = {
    "owner": "",
    "run_id": "unknown",
    "host": "an unknown host",
    "pid": 0,
}
_PATIENCE_S: Final = 2.0
"""Longest time to try one beat; a job that is to end does not wait longer for a store."""


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
    lost : another job has taken over, since this one was silent; this one should end
    """

    def __init__(
        self,
        store: Store,
        model_id: str,
        run_id: str,
        beat_s: float = BEAT_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.lost = False
        self._store = store
        self._path = layout.lock(model_id)
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
            found = _find(self._store, self._path)
            if found is not None and self._is_dead(found):
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
        return seal({**self._me, "beat": self._beat})

    def _is_mine(self) -> bool:
        """Whether the lock is this job's, or, since it is broken, nobody else's."""
        found = _find(self._store, self._path)
        return found is not None and found["owner"] in (self._me["owner"], _UNKNOWN["owner"])

    def _is_dead(self, owner: dict[str, Any]) -> bool:
        """Watch an owner; False when it has ended meanwhile, CommandError when it is at work."""
        found = _watch(self._store, self._path, owner, self._beat_s, self._silence_s)
        if found is not None and found != owner:
            raise CommandError(
                f"another job (run {found['run_id']}, process {found['pid']} on "
                f"{found['host'].split('/')[0]}) is writing to {self._store.root}: "
                "let it end, or stop it"
            )
        return found is not None

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                self._beat += 1
                if self._is_mine():
                    self._store.write(self._path, self._content())
                elif not self._store.create(self._path, self._content()):  # else it was removed
                    self.lost = True
                    _log.warning("another job has taken over the lock")
                    return
            except (StoreUnavailable, AccessDenied) as problem:
                _log.warning("the lock could not be renewed: %s", problem)


def is_alive(store: Store, model_id: str, run_id: str, silence_s: float = SILENCE_S) -> bool:
    """Whether the lock names this run, and its owner is not dead.

    An owner on another host is watched until it beats, or has been silent for ``silence_s``.
    """
    owner = _find(store, layout.lock(model_id))
    if owner is None or owner["run_id"] != run_id:
        return False
    if owner["host"] == _host():
        return not _has_ended(owner)
    found = _watch(store, layout.lock(model_id), owner, BEAT_S, silence_s)
    return found is not None and found != owner


def is_broken(store: Store, model_id: str) -> bool:
    """Whether the file of a lock says nothing that a job has written."""
    found = _find(store, layout.lock(model_id))
    return found is not None and found["owner"] == _UNKNOWN["owner"]


def _find(store: Store, path: str) -> dict[str, Any] | None:
    """What a lock says; None where there is none, ``_UNKNOWN`` where it says nothing."""
    try:
        data = store.read(path)
    except FileNotFoundError:
        return None
    try:
        found = unseal(data)
    except ValueError:
        found = {}
    kinds_fit = all(type(found.get(name)) is kind for name, kind in _KINDS.items())
    started = found.setdefault("started", None)
    if kinds_fit and (started is None or type(started) is str):
        return found
    return {**_UNKNOWN, "started": None, "content": data}


def _watch(
    store: Store, path: str, owner: dict[str, Any], beat_s: float, silence_s: float
) -> dict[str, Any] | None:
    """What becomes of a lock: ``owner`` again when that is dead, None when the lock is removed."""
    is_here = owner["host"] == _host()
    give_up = time.monotonic() + silence_s
    while time.monotonic() < give_up and not (is_here and _has_ended(owner)):
        time.sleep(min(1.0, beat_s / 4))
        found = _find(store, path)
        if found != owner:
            return found
    return owner


def _has_ended(owner: dict[str, Any]) -> bool:
    """Whether an owner on this host has ended."""
    started: str | None = owner["started"]
    return _started(owner["pid"]) != started


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
