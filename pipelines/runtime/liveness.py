"""Noticing that the cluster is gone before Ray's library does.

A driver talks to the raylet of its node and to the GCS of the cluster. When one of them is gone,
Ray's C++ ends the driver's process at some later moment, with exit code 1 and without a word; no
exception arrives that could be told to people or to the run's record. So a thread looks after both
and ends the process first. Only what happens between two looks is out of reach: a driver that uses
the object store within a second of the raylet's end is ended by Ray.
"""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.signals import end_process

LOOK_S: Final = 0.5  # between two looks
LAST_WORDS_S: Final = 15.0  # for a store to take the record of the run


@dataclass(frozen=True)
class Part:
    """A process of the cluster that this one cannot do without.

    Attributes
    ----------
    name : for people
    address : ``host:port`` at which it listens
    patience_s : how long it may be away
    """

    name: str
    address: str
    patience_s: float

    def answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5.0).close()
        except OSError:
            return False
        return True


def lost(what: str) -> ClusterLost:
    """The error that tells of it and says what to do."""
    return ClusterLost(f"{what}: start the same command again, which goes on where this one ended")


@contextmanager
def watched(parts: Sequence[Part]) -> Iterator[None]:
    """End the process with ``ClusterLost`` when a part stays away while the block runs."""
    left = threading.Event()

    def watch() -> None:
        seen = {part: time.monotonic() for part in parts}
        while not left.wait(LOOK_S):
            for part in parts:
                if part.answers():
                    seen[part] = time.monotonic()
                elif time.monotonic() - seen[part] > part.patience_s and not left.is_set():
                    end_process(lost(f"{part.name} at {part.address} is gone"), LAST_WORDS_S)

    if parts:
        threading.Thread(target=watch, name="liveness", daemon=True).start()
    try:
        yield
    finally:
        left.set()
