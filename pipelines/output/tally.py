"""What clips came to: the counts of a batch, and of a run as their sum."""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

T = TypeVar("T")

PATCHES_STAGE: Final = "patches"
"""The name in ``Tally.seconds`` of the time until patches were there, from reading to log-mel."""

MODEL_STAGE: Final = "model"
"""The same of the time that the networks took."""


@dataclass
class Tally:
    """What a batch came to.

    Attributes
    ----------
    n_tagged : clips; of a recording with several audio tracks it may count each
    n_retries : repeated calls to stores
    failures : failed clips by reason
    seconds : where the time went, by stage; waiting counts
    cpu_seconds : CPU time by stage, of the process that decodes too; waiting does not count, and
        other work on the machine changes it little
    expected_s : seconds of audio that the clips were taken for before they were read
    n_recordings : how many of those listed were gone through
    precisions : tagged clips by the arithmetic of the extractors
    n_none_of_these : tagged clips that are unlike all that the model was trained on
    """

    n_tagged: int = 0
    audio_s: float = 0.0
    n_segments: int = 0
    size_bytes: int = 0
    n_retries: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    expected_s: float = 0.0
    n_recordings: int = 0
    precisions: dict[str, int] = field(default_factory=dict)
    n_none_of_these: int = 0

    @property
    def n_failed(self) -> int:
        return sum(self.failures.values())

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the time spent inside to ``seconds[what]``, and this process's to ``cpu_seconds``."""
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            _add(self.seconds, {what: time.perf_counter() - start})
            _add(self.cpu_seconds, {what: time.process_time() - cpu_start})

    def count_cpu(self, what: str, seconds: float) -> None:
        """Add CPU time of another process to ``cpu_seconds[what]``."""
        _add(self.cpu_seconds, {what: seconds})

    def waiting(self, items: Iterable[T], what: str) -> Iterator[T]:
        """Pass on ``items``; the time it takes to get each is ``timed``."""
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
        self.n_none_of_these += other.n_none_of_these
        self.n_recordings += other.n_recordings
        self.audio_s += other.audio_s
        self.n_segments += other.n_segments
        self.size_bytes += other.size_bytes
        self.n_retries += other.n_retries
        self.expected_s += other.expected_s
        _add(self.failures, other.failures)
        _add(self.precisions, other.precisions)
        _add(self.seconds, other.seconds)
        _add(self.cpu_seconds, other.cpu_seconds)

    def without(self, other: "Tally") -> "Tally":
        """What is left of the counts without those of a batch that is lost; time stays spent."""
        left = self.plus(Tally())
        for name in (
            "n_tagged",
            "n_none_of_these",
            "n_recordings",
            "audio_s",
            "n_segments",
            "size_bytes",
            "expected_s",
        ):
            setattr(left, name, getattr(self, name) - getattr(other, name))
        left.failures = _less(left.failures, other.failures)
        left.precisions = _less(left.precisions, other.precisions)
        return left

    def plus(self, other: "Tally") -> "Tally":
        """The sum as a new object, so that another thread reads this one undisturbed."""
        total = Tally()
        total.add(self)
        total.add(other)
        return total


def _add(totals: dict[str, float] | dict[str, int], more: Mapping[str, float]) -> None:
    """Add numbers to those of the same key."""
    for key, value in more.items():
        totals[key] = totals.get(key, 0) + value  # type: ignore[assignment]


def _less(counts: dict[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """What is left of counts without others; none that came to 0."""
    left = {key: n - others.get(key, 0) for key, n in counts.items()}
    return {key: n for key, n in left.items() if n}
