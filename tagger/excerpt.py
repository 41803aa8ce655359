"""A stretch of a recording as if it were the recording: a clip of a longer one."""

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Final

from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.recording import Decoded

_TOLERANCE_S: Final = 0.5  # by which a file of a stretch alone may be longer than the stretch


@dataclass(frozen=True)
class Stretch:
    """Where a clip lies in its recording.

    Attributes
    ----------
    start_s : seconds from the recording's start
    end_s : likewise; None: the recording's end
    may_be_cut : whether a recording that is no longer than the stretch holds the stretch alone, as
        AudioSet's segments are often kept
    """

    start_s: float = 0.0
    end_s: float | None = None
    may_be_cut: bool = False


def excerpt(recording: Decoded, stretch: Stretch) -> Decoded:
    """The recording from ``start_s`` to ``end_s``; what lies behind is not decoded.

    The blocks end with a ``ClipError`` for ``EMPTY`` where the recording ends before the stretch.
    """
    blocks = _from_to(recording, stretch)
    if stretch.may_be_cut and stretch.end_s is not None:
        blocks = _unless_cut(recording, stretch, stretch.end_s - stretch.start_s)
    return recording._replace(blocks=blocks)


def _from_to(recording: Decoded, stretch: Stretch) -> Generator[FloatArray]:
    rate = recording.sample_rate_hz
    first = round(stretch.start_s * rate)
    last = None if stretch.end_s is None else round(stretch.end_s * rate)
    position = 0
    with closing(recording.blocks) as blocks:
        for block in blocks:
            piece = block[max(0, first - position) : None if last is None else last - position]
            position += len(block)
            if len(piece):
                yield piece
            if last is not None and position >= last:
                return
    if position <= first:
        raise ClipError(
            Reason.EMPTY,
            f"the recording ends at {position / rate:.3f} s, and its clip begins at "
            f"{stretch.start_s:.3f} s",
        )


def _unless_cut(recording: Decoded, stretch: Stretch, length_s: float) -> Generator[FloatArray]:
    """All of a recording that is no longer than its stretch; else the stretch."""
    most = round((length_s + _TOLERANCE_S) * recording.sample_rate_hz)
    held: list[FloatArray] = []
    with closing(recording.blocks) as blocks:
        try:
            while sum(map(len, held)) <= most:
                held.append(next(blocks))
        except StopIteration:
            yield from held
            return
        except ClipError:
            yield from held
            raise
        whole = recording._replace(blocks=_chained(held, blocks))
        yield from _from_to(whole, stretch)


def _chained(held: Iterable[FloatArray], rest: Iterable[FloatArray]) -> Generator[FloatArray]:
    yield from chain(held, rest)
