"""Bits flipped in the files of an output, and what became of each."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from pipelines.output.status import status
from pipelines.storage.store import Store
from tests.support.damaged import flipped

NO_DATA: Final = ("views.sql", "_runs/", "_lock/")
"""No row depends on these: they are written anew, or passed over by name."""

_PASSING: Final = ("_probe/", "_damaged/")
_REDO: Final = re.compile(r"--redo-entry (\d+)")


@dataclass(frozen=True)
class Flip:
    """A file before and after one bit of it was changed."""

    path: str
    before: bytes
    after: bytes


class Flips:
    """Flips bits of an output, one at a time, and mends what is told.

    Attributes
    ----------
    came_to : how many flips were "told" by ``status --verify`` or by an error, "mended" by a run,
        of "no data", or "silent": neither told nor mended
    """

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.came_to: Counter[str] = Counter()
        self._store = store
        self._rng = rng
        self._pending: list[Flip] = []

    def flip(self) -> None:
        """Change a bit of a random file that has none changed; nothing happens without one."""
        changed = {flip.path for flip in self._pending}
        files = [path for path in self._store.list("") if not path.startswith(_PASSING)]
        paths = [path for path in files if path not in changed]
        if not paths:
            return
        path = self._rng.choice(paths)
        try:
            before = self._store.read(path)
        except FileNotFoundError:
            return
        if before:
            after = flipped(before, self._rng.randrange(8 * len(before)))
            self._store.write(path, after)
            self._pending.append(Flip(path, before, after))

    def mend(self, said: str) -> list[str]:
        """Mend what an error names; returns the options that the next command needs for it."""
        for flip in [flip for flip in self._pending if flip.path in said]:
            self._pending.remove(flip)
            self.came_to["told"] += 1
            redo = _REDO.search(said)
            if redo and self._rng.random() < 0.5:
                return ["--redo-entry", redo[1]]
            self._store.write(flip.path, flip.before)
        return []

    def settle(self) -> None:
        """Sort out what is left once a run is complete; files that are told are restored."""
        found = status(self._store, verify="bytes")
        told = [*found.broken, *(line for model in found.models for line in model.broken)]
        for flip in self._pending:
            try:
                is_left = self._store.read(flip.path) == flip.after
            except FileNotFoundError:
                is_left = False
            if flip.path.startswith(NO_DATA):
                self.came_to["no data"] += 1
            elif not is_left:
                self.came_to["mended"] += 1
            elif any(flip.path in line for line in told):
                self.came_to["told"] += 1
                self._store.write(flip.path, flip.before)
            else:
                self.came_to["silent"] += 1
        self._pending = []
