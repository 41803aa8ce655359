"""What clips came to: the counts of a batch, and of a run as their sum."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

T = TypeVar("T")

MODEL_STAGE: Final = "model"
"""The name in ``Tally.seconds`` of the time that the networks took."""


@dataclass
class Tally:
    """What a batch came to.

    Attributes
    ----------
    n_tagged : clips; of a recording with several audio tracks it may count each
    n_retries : repeated calls to stores
    failures : failed clips by reason
    seconds : where the time went
    expected_s : seconds of audio that the clips were taken for before they were read
    n_recordings : how many of those listed were gone through
    """

    n_tagged: int = 0
    audio_s: float = 0.0
    n_segments: int = 0
    size_bytes: int = 0
    n_retries: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    expected_s: float = 0.0
    n_recordings: int = 0

    @property
    def n_failed(self) -> int:
        return sum(self.failures.values())

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[what]``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[what] = self.seconds.get(what, 0.0) + spent

    def waiting(self, items: Iterable[T], what: str) -> Iterator[T]:
        """Pass on ``items``, adding the time it takes to get each to ``seconds[what]``."""
        iterator = iter(items)
        while True:
            with self.timed(what):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def add(self, other: "Tally") -> None:
        """Add another batch."""
        self.n_tagged += other.n_tagged
        self.n_recordings += other.n_recordings
        self.audio_s += other.audio_s
        self.n_segments += other.n_segments
        self.size_bytes += other.size_bytes
        self.n_retries += other.n_retries
        self.expected_s += other.expected_s
        for reason, n in other.failures.items():
            self.failures[reason] = self.failures.get(reason, 0) + n
        for what, seconds in other.seconds.items():
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def without(self, other: "Tally") -> "Tally":
        """What is left of the counts without those of a batch that is lost; time stays spent."""
        left = self.plus(Tally())
        for name in (
            "n_tagged",
            "n_recordings",
            "audio_s",
            "n_segments",
            "size_bytes",
            "expected_s",
        ):
            setattr(left, name, getattr(self, name) - getattr(other, name))
        for reason, n in other.failures.items():
            left.failures[reason] -= n
        left.failures = {reason: n for reason, n in left.failures.items() if n}
        return left

    def plus(self, other: "Tally") -> "Tally":
        """The sum as a new object, so that another thread reads this one undisturbed."""
        total = Tally()
        total.add(self)
        total.add(other)
        return total
