"""From a recording to the waveform that patches are made of (paper section 3.1; PAPER.md D1 to D3).

decode -> mono -> trim leading and trailing silence -> normalise to a peak of 1 -> 16 kHz.

Trimming and the peak need the whole recording, so there are two passes: the first finds the bounds
and the peak, the second yields the waveform. Recordings of some minutes are decoded once and kept
in memory in between. Longer ones are decoded twice, a block at a time, and give the very same
samples.

Times are seconds in the original recording: its first decoded sample is at 0.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import soxr

from tagger.arrays import FloatArray
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason, Stage
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.recording import Source
from tagger.trimming import Envelope

MAX_HOURS: Final = 24.0
MIN_RATE_HZ: Final = 1_000  # below it no sound is left, and a few bytes would be hours

_T = TypeVar("_T")

_KEEP_SAMPLES: Final = 2**24  # 64 MiB, 6 minutes at 44.1 kHz


@dataclass(frozen=True)
class Signal:
    """What is known of a recording once it has been decoded; times in seconds.

    Parameters
    ----------
    duration_s : length of what could be decoded
    sample_rate_hz, channels : of the original recording
    content_start_s, content_end_s : what trimming left; the waveform at 16 kHz starts at the first
    peak : largest magnitude of the mono recording, which normalisation makes 1
    damage : None, or one line that tells what of the recording could not be decoded
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    content_start_s: float
    content_end_s: float
    peak: float
    damage: str | None


def load(source: Source, max_hours: float = MAX_HOURS) -> tuple[Signal, Iterator[FloatArray]]:
    """Decode a recording: what it is, and its waveform at 16 kHz in blocks.

    Parameters
    ----------
    source : bytes, local path, or seekable binary file object (which must stay open until the
        blocks are read, and is read again from its start if the recording is long)
    max_hours : longest recording to accept, in hours as decoded, whatever its header says

    Returns
    -------
    signal : the recording's description
    blocks : (n,) float32 mono at 16 kHz each: trimmed, with a peak of 1 before the resampling, at
        least one sample in all

    A recording that is damaged on the way is used as far as it decodes, and ``Signal.damage`` says
    so.

    Raises
    ------
    ClipError : nothing usable in it (``EMPTY``, ``UNSUPPORTED``, ``DECODE_ERROR``, ``NON_FINITE``,
        ``SILENT``, ``TOO_LONG``)
    OSError : the source itself cannot be read
    """
    return _returned(loading(source, max_hours))


def loading(
    source: Source, max_hours: float = MAX_HOURS
) -> Generator[float, None, tuple[Signal, Iterator[FloatArray]]]:
    """``load`` as a generator that reports its progress.

    Yields
    ------
    hours of audio decoded since the last report, about one at a time; they add up to the duration

    Returns
    -------
    What ``load`` returns.

    Raises
    ------
    ClipError, OSError : as ``load``
    """
    signal, pieces = yield from _normalised(source, max_hours)
    return signal, resampled(pieces, signal.sample_rate_hz)


def waveform(source: Source, max_hours: float = MAX_HOURS) -> tuple[Signal, FloatArray]:
    """``load`` with the waveform in one piece, (n_samples,) float32 at 16 kHz.

    For recordings that fit into memory. Raises as ``load`` does.
    """
    signal, blocks = load(source, max_hours)
    return signal, np.concatenate(list(blocks))


def original(source: Source, max_hours: float = MAX_HOURS) -> tuple[Signal, FloatArray]:
    """The trimmed, normalised waveform at the recording's own rate, (n_samples,) float32.

    It is what pitch shifting starts from. Raises as ``load`` does.
    """
    signal, pieces = _returned(_normalised(source, max_hours))
    return signal, np.concatenate(list(pieces))


def resampled(pieces: Iterable[FloatArray], sample_rate_hz: int) -> Iterator[FloatArray]:
    """A waveform at 16 kHz, resampled with soxr HQ.

    Parameters
    ----------
    pieces : (n,) float32 each, at least one sample in all; their lengths make no difference
    sample_rate_hz : of the pieces

    Yields
    ------
    (n,) float32 at 16 kHz, at least one sample in all
    """
    if sample_rate_hz == SAMPLE_RATE_HZ:
        yield from pieces
        return
    stream = soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, "float32", "HQ")
    n = 0
    for piece in pieces:
        part = stream.resample_chunk(piece)
        n += len(part)
        yield part
    last = stream.resample_chunk(np.empty(0, np.float32), last=True)
    if n + len(last) == 0:  # too short for one sample at 16 kHz: its peak stands for it
        last = np.ones(1, np.float32)
    yield last


def _returned(steps: Generator[float, None, _T]) -> _T:
    """Run a generator to its end and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


@dataclass
class _Survey:
    """The first pass: everything that needs the whole recording."""

    sample_rate_hz: int
    channels: int
    envelope: Envelope
    peak: float
    damage: str | None
    kept: list[FloatArray] | None  # the decoded recording, None if it is long
    reported_hours: float = 0.0

    @property
    def hours(self) -> float:
        """Length of what has been decoded so far."""
        return self.envelope.n_samples / self.sample_rate_hz / 3600.0

    def add(self, block: FloatArray) -> None:
        """Survey the next block; ClipError where it holds what is no number."""
        peak = max(float(block.max()), -float(block.min()))
        if not np.isfinite(peak):  # NaN as well: it is the maximum of any block that has one
            raise ClipError(Reason.NON_FINITE, "samples that are NaN or infinite")
        self.peak = max(self.peak, peak)
        self.envelope.add(block, peak)
        if self.kept is not None:
            self.kept.append(block)
            if self.envelope.n_samples > _KEEP_SAMPLES:
                self.kept = None


def _normalised(
    source: Source, max_hours: float
) -> Generator[float, None, tuple[Signal, Iterator[FloatArray]]]:
    """The recording's description, and its content with a peak of 1, at its own rate."""
    survey = yield from _survey(source, max_hours)
    rate = survey.sample_rate_hz
    start, end = survey.envelope.bounds()
    signal = Signal(
        duration_s=survey.envelope.n_samples / rate,
        sample_rate_hz=rate,
        channels=survey.channels,
        content_start_s=start / rate,
        content_end_s=end / rate,
        peak=survey.peak,
        damage=survey.damage,
    )
    blocks = _decode_again(source) if survey.kept is None else iter(survey.kept)
    return signal, _cut(blocks, start, end, survey.peak)


def _survey(source: Source, max_hours: float) -> Generator[float, None, _Survey]:
    rate, channels, blocks = decode_blocks(source)
    survey = _Survey(rate, channels, Envelope(), 0.0, None, [])
    try:
        with closing(blocks):
            yield from _survey_blocks(blocks, survey, max_hours)
    except ClipError as error:
        if error.reason is not Reason.DECODE_ERROR or survey.envelope.n_samples == 0:
            raise
        survey.damage = error.detail
    if survey.envelope.n_samples == 0:
        raise ClipError(Reason.EMPTY, "no samples")
    if survey.peak == 0.0:
        raise ClipError(Reason.SILENT, "every sample is zero")
    yield survey.hours - survey.reported_hours
    return survey


def _survey_blocks(
    blocks: Iterable[FloatArray], survey: _Survey, max_hours: float
) -> Generator[float]:
    """Survey all blocks; yields the hours not yet reported, once they are one or more."""
    if survey.sample_rate_hz < MIN_RATE_HZ:
        raise ClipError(Reason.UNSUPPORTED, f"a sample rate of {survey.sample_rate_hz} Hz")
    for block in blocks:
        survey.add(block)
        if survey.hours > max_hours:
            raise ClipError(Reason.TOO_LONG, f"more than {max_hours:g} hours of audio")
        if survey.hours >= survey.reported_hours + 1.0:
            yield survey.hours - survey.reported_hours
            survey.reported_hours = survey.hours


def _decode_again(source: Source) -> Iterator[FloatArray]:
    """The blocks once more; the source is opened when the first of them is asked for."""
    yield from decode_blocks(source).blocks


def _cut(blocks: Iterable[FloatArray], start: int, end: int, peak: float) -> Iterator[FloatArray]:
    """Samples ``start`` to ``end`` of the recording, divided by ``peak``.

    ClipError where the recording ends earlier than in the first pass.
    """
    position = 0
    for block in blocks:
        piece = block[max(0, start - position) : end - position]
        position += len(block)
        if len(piece):
            yield piece / np.float32(peak)
        if position >= end:
            return
    detail = "shorter when it was read for the second time"
    raise ClipError(Reason.CHANGED_DURING_RUN, detail, Stage.READ)
