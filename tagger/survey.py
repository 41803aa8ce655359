"""The first pass over a recording: everything that needs the whole of it (PAPER.md D2, D3).

Bounds, peak and damage come of one pass over the mean of the channels. Where the channels may
cancel each other a second pass measures them one by one, and if they do a third one surveys the
loudest instead.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np

from tagger import levels
from tagger.arrays import FloatArray
from tagger.errors import ClipError, Reason
from tagger.levels import ChannelLevels, Downmix
from tagger.recording import Decoded, Mix, mono
from tagger.trimming import FRAME, Envelope

MIN_RATE_HZ: Final = 1_000  # below it no sound is left, and a few bytes would be hours

_KEEP_SAMPLES: Final = 2**24  # 64 MiB, 6 minutes at 44.1 kHz


@dataclass
class Survey:
    """What a pass over a recording has found so far.

    Attributes
    ----------
    channels : of the recording
    mix : what made mono of them, for another pass
    highest, lowest : the extreme samples
    bounds : the first sample that is not silent, and the one after the last
    kept : the decoded recording, None if it is long
    """

    sample_rate_hz: int
    channels: int
    mix: Mix
    envelope: Envelope
    highest: float = -np.inf
    lowest: float = np.inf
    bounds: tuple[int, int] = (0, 0)
    damage: str | None = None
    notes: str | None = None
    kept: list[FloatArray] | None = None
    reported_hours: float = 0.0

    @property
    def n_samples(self) -> int:
        """Length of what has been decoded so far."""
        return self.envelope.n_samples

    @property
    def hours(self) -> float:
        """The same in hours."""
        return self.n_samples / self.sample_rate_hz / 3600.0

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return max(self.highest, -self.lowest)

    @property
    def is_silent(self) -> bool:
        """Whether all samples are the same; few that are not zero may be a part of a slow wave."""
        return self.highest == self.lowest and (self.highest == 0.0 or self.n_samples > FRAME)

    @property
    def energy(self) -> float:
        """Sum of squares, or the most that they can be around their mean, if that is less."""
        swing = (self.highest - self.lowest) / 2.0
        return min(self.envelope.energy(), self.n_samples * swing**2)

    def add(self, block: FloatArray) -> None:
        """Survey the next block; ClipError where it holds what is no number."""
        highest, lowest = float(block.max()), float(block.min())
        peak = max(highest, -lowest)
        if not np.isfinite(peak):  # NaN as well: it is the maximum of any block that has one
            raise ClipError(Reason.NON_FINITE, "samples that are NaN or infinite")
        self.highest, self.lowest = max(self.highest, highest), min(self.lowest, lowest)
        self.envelope.add(block, peak)
        if self.kept is not None:
            self.kept.append(block)
            if self.n_samples > _KEEP_SAMPLES:
                self.kept = None


def survey(decode: Callable[[Mix], Decoded], max_hours: float) -> Generator[float, None, Survey]:
    """Find out all of a recording that takes a pass over the whole of it.

    Parameters
    ----------
    decode : opens the recording from its start

    Yields
    ------
    hours decoded since the last report

    Raises
    ------
    ClipError : nothing usable in it; a recording that is silent is not refused here
    """
    downmix = Downmix()
    found = yield from _pass(decode, downmix, max_hours)
    found.mix, cancelled = mono, None
    if downmix.may_cancel(found.energy):
        channels = ChannelLevels()
        yield from _pass(decode, channels, max_hours)
        loudest = channels.loudest_if_cancelled()
        if loudest is not None:
            found = yield from _pass(decode, levels.one_channel(loudest), max_hours)
            cancelled = levels.CANCELLED
    start, end = found.bounds = found.envelope.bounds()
    found.notes = levels.joined(
        levels.TRIMMED if levels.is_trimmed(start, end, found.n_samples) else None,
        levels.OFFSET if levels.is_offset(found.highest, found.lowest) else None,
        cancelled,
        levels.CLIPPED if downmix.clips(found.peak) else None,
    )
    return found


def _pass(
    decode: Callable[[Mix], Decoded], mix: Mix, max_hours: float
) -> Generator[float, None, Survey]:
    rate, channels, blocks = decode(mix)
    found = Survey(rate, channels, mix, Envelope(), kept=[])
    try:
        with closing(blocks):
            yield from _survey_blocks(blocks, found, max_hours)
    except ClipError as error:
        if error.reason is not Reason.DECODE_ERROR or found.n_samples == 0:
            raise
        found.damage = error.detail
    if found.n_samples == 0:
        raise ClipError(Reason.EMPTY, "no samples")
    yield found.hours - found.reported_hours
    return found


def _survey_blocks(
    blocks: Iterable[FloatArray], found: Survey, max_hours: float
) -> Generator[float]:
    """Survey all blocks; yields the hours not yet reported, once they are one or more."""
    if found.sample_rate_hz < MIN_RATE_HZ:
        raise ClipError(Reason.UNSUPPORTED, f"a sample rate of {found.sample_rate_hz} Hz")
    for block in blocks:
        found.add(block)
        if found.hours > max_hours:
            raise ClipError(Reason.TOO_LONG, f"more than {max_hours:g} hours of audio")
        if found.hours >= found.reported_hours + 1.0:
            yield found.hours - found.reported_hours
            found.reported_hours = found.hours
