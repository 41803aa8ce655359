"""How far the batches at hand are, which no receipt tells of yet; knows no Ray."""

from typing import Protocol


class Board(Protocol):
    """Where workers write how far they are, and the driver reads it.

    Writing costs a worker next to nothing, and never fails.
    """

    def write(self, batch: int, n_segments: int) -> None:
        """Tell how many segments of a batch are done."""

    def wipe(self, batch: int) -> None:
        """Tell that a batch is done: its receipt says the rest."""

    def n_segments(self) -> int:
        """Segments that are done of all batches at hand."""


class LocalBoard:
    """For a driver that is its own only worker."""

    def __init__(self) -> None:
        self._n_segments: dict[int, int] = {}

    def write(self, batch: int, n_segments: int) -> None:
        self._n_segments[batch] = n_segments

    def wipe(self, batch: int) -> None:
        self._n_segments.pop(batch, None)

    def n_segments(self) -> int:
        return sum([*self._n_segments.values()])  # a copy: another thread may write
