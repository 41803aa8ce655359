"""How far the batches at hand are, which no receipt tells of yet; knows no Ray."""

from typing import NamedTuple, Protocol


class Done(NamedTuple):
    """What is done of a batch, or of all that are at hand.

    Attributes
    ----------
    n_segments : segments that went to the extractors
    expected_s : the same as part of the audio that the clips are taken for (``Tally.expected_s``)
    """

    n_segments: int
    expected_s: float


class Board(Protocol):
    """Where workers write how far they are, and the driver reads it.

    Writing costs a worker next to nothing, and never fails.
    """

    def write(self, batch: int, done: Done) -> None:
        """Tell how much of a batch is done."""

    def wipe(self, batch: int) -> None:
        """Tell that a batch is done: its receipt says the rest."""

    def total(self) -> Done:
        """What is done of all batches at hand."""


class LocalBoard:
    """For a driver that is its own only worker."""

    def __init__(self) -> None:
        self._batches: dict[int, Done] = {}

    def write(self, batch: int, done: Done) -> None:
        self._batches[batch] = done

    def wipe(self, batch: int) -> None:
        self._batches.pop(batch, None)

    def total(self) -> Done:
        batches = [*self._batches.values()]  # a copy: another thread may write
        return Done(*map(sum, zip(*batches, strict=True))) if batches else Done(0, 0.0)
