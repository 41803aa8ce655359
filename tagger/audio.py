"""From a recording to the signal that patches are made of (paper section 3.1; design section 3).

decode -> mono -> trim leading and trailing silence -> normalise to a peak of 1 -> 16 kHz.

Trimming and the peak need the whole recording, so it is gone through twice: one pass finds the
bounds and the peak, another yields the signal. Recordings of some minutes are decoded once and kept
in between; longer ones are decoded twice, a block at a time, and give the very same samples.

Times are seconds in the original recording: its first decoded sample is at 0.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import soxr

from tagger.arrays import FloatArray
from tagger.decoding import decode_blocks
from tagger.errors import ClipError, Reason, Stage
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.recording import Source

MAX_HOURS: Final = 24.0
MIN_RATE_HZ: Final = 1_000  # below it no sound is left, and a few bytes would be hours

TRIM_FRAME: Final = 2_048  # samples at the recording's own rate, as all TRIM constants
TRIM_HOP: Final = 512
TRIM_RATIO: Final = 1e-6  # in power: 60 dB below the loudest frame
TRIM_FLOOR: Final = 1e-10  # in power: librosa measures nothing quieter

_T = TypeVar("_T")

_KEEP_SAMPLES: Final = 2**24  # 64 MiB, 6 minutes at 44.1 kHz
_HUGE: Final = 1e15  # amplitudes whose squares leave float32


@dataclass(frozen=True)
class Signal:
    """What is known of a recording once it has been decoded.

    Parameters
    ----------
    duration_s : length of what could be decoded
    sample_rate_hz, channels : of the original recording
    content_start_s, content_end_s : what trimming left; the 16 kHz signal starts at the first
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
    """Decode a recording: what it is, and its signal at 16 kHz.

    Parameters
    ----------
    source : bytes, local path, or seekable binary file object (which must stay open until the
        blocks are read, and is read again from its start if the recording is long)
    max_hours : longest recording to take, in hours as decoded, whatever its header says

    Returns
    -------
    The signal's description, and blocks of (n,) float32 mono at 16 kHz: trimmed, peak 1 before the
    resampling, at least one sample in all. A recording damaged on the way is used as far as it
    decodes, and ``Signal.damage`` says so.

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
    """``load`` that yields on its way how many hours more have been decoded, about one at a time.

    They sum up to the duration; what ``load`` returns is returned at the end.
    """
    signal, pieces = yield from _normalised(source, max_hours)
    return signal, resampled(pieces, signal.sample_rate_hz)


def waveform(source: Source, max_hours: float = MAX_HOURS) -> tuple[Signal, FloatArray]:
    """``load`` with the signal in one piece, (n,) float32; for recordings that fit into memory."""
    signal, blocks = load(source, max_hours)
    return signal, np.concatenate(list(blocks))


def original(source: Source, max_hours: float = MAX_HOURS) -> tuple[Signal, FloatArray]:
    """The signal in one piece before it is resampled, (n,) float32: what pitch shifting takes."""
    signal, pieces = _returned(_normalised(source, max_hours))
    return signal, np.concatenate(list(pieces))


def _returned(steps: Generator[float, None, _T]) -> _T:
    """What is returned at the end of all steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: _T = end.value
            return result


class Envelope:
    """Power over time of a signal that comes in blocks, and where it is not silent.

    Bounds are those of ``librosa.effects.trim(y, top_db=60)``: RMS of centred frames (2048 samples,
    hop 512, zeros beyond the ends) against the loudest frame. A frame is four pieces of 512
    samples, so that every sample is squared once.
    """

    def __init__(self) -> None:
        self.n_samples = 0
        self._energies: list[npt.NDArray[np.floating]] = []  # per piece; the last may be incomplete

    def add(self, block: FloatArray, peak: float) -> None:
        """Take in the next (n,) samples, none of them larger than ``peak``."""
        samples: npt.NDArray[np.floating] = block.astype(np.float64) if peak > _HUGE else block
        n_open = min(-self.n_samples % TRIM_HOP, len(samples))
        self.n_samples += len(samples)
        if n_open:
            self._energies[-1][-1] += np.dot(samples[:n_open], samples[:n_open])
        n_whole = (len(samples) - n_open) // TRIM_HOP
        pieces = samples[n_open : n_open + n_whole * TRIM_HOP].reshape(n_whole, TRIM_HOP)
        rest = samples[n_open + n_whole * TRIM_HOP :]
        if n_whole:
            self._energies.append(np.vecdot(pieces, pieces))
        if len(rest):
            self._energies.append(np.vecdot(rest, rest)[None])

    def bounds(self) -> tuple[int, int]:
        """First sample that is not silent, and the one after the last."""
        energies = np.pad(np.concatenate(self._energies, dtype=np.float64), 2)
        n_frames = 1 + self.n_samples // TRIM_HOP
        frames = sum(energies[k : k + n_frames] for k in range(TRIM_FRAME // TRIM_HOP))
        power = np.maximum(np.asarray(frames) / TRIM_FRAME, TRIM_FLOOR)
        loud = np.flatnonzero(power > TRIM_RATIO * power.max())
        return int(loud[0]) * TRIM_HOP, min(self.n_samples, (int(loud[-1]) + 1) * TRIM_HOP)


@dataclass
class _Survey:
    """The first pass: everything that needs the whole recording."""

    sample_rate_hz: int
    channels: int
    envelope: Envelope
    peak: float
    damage: str | None
    kept: list[FloatArray] | None  # the decoded recording, None if it is long
    told_hours: float = 0.0

    @property
    def hours(self) -> float:
        return self.envelope.n_samples / self.sample_rate_hz / 3600.0


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
            yield from _go_through(blocks, survey, max_hours)
    except ClipError as error:
        if error.reason is not Reason.DECODE_ERROR or survey.envelope.n_samples == 0:
            raise
        survey.damage = error.detail
    if survey.envelope.n_samples == 0:
        raise ClipError(Reason.EMPTY, "no samples")
    if survey.peak == 0.0:
        raise ClipError(Reason.SILENT, "every sample is zero")
    yield survey.hours - survey.told_hours
    return survey


def _go_through(
    blocks: Iterable[FloatArray], survey: _Survey, max_hours: float
) -> Generator[float]:
    """Survey all blocks; yields the hours that are new, once they are one or more."""
    if survey.sample_rate_hz < MIN_RATE_HZ:
        raise ClipError(Reason.UNSUPPORTED, f"a sample rate of {survey.sample_rate_hz} Hz")
    for block in blocks:
        _take(survey, block)
        if survey.hours > max_hours:
            raise ClipError(Reason.TOO_LONG, f"more than {max_hours:g} hours of audio")
        if survey.hours >= survey.told_hours + 1.0:
            yield survey.hours - survey.told_hours
            survey.told_hours = survey.hours


def _take(survey: _Survey, block: FloatArray) -> None:
    peak = max(float(block.max()), -float(block.min()))
    if not np.isfinite(peak):  # NaN as well: it is the maximum of any block that has one
        raise ClipError(Reason.NON_FINITE, "samples that are NaN or infinite")
    survey.peak = max(survey.peak, peak)
    survey.envelope.add(block, peak)
    if survey.kept is not None:
        survey.kept.append(block)
        if survey.envelope.n_samples > _KEEP_SAMPLES:
            survey.kept = None


def _decode_again(source: Source) -> Iterator[FloatArray]:
    """Nothing is opened before the first block is asked for."""
    yield from decode_blocks(source).blocks


def _cut(blocks: Iterable[FloatArray], start: int, end: int, peak: float) -> Iterator[FloatArray]:
    """Samples ``start`` to ``end`` of the recording, divided by ``peak``."""
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


def resampled(pieces: Iterable[FloatArray], sample_rate_hz: int) -> Iterator[FloatArray]:
    """The signal at 16 kHz (soxr HQ); the lengths of the pieces make no difference."""
    if sample_rate_hz == SAMPLE_RATE_HZ:
        yield from pieces
        return
    stream = soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, 1, "float32", "HQ")
    n = 0
    for piece in pieces:
        chunk = stream.resample_chunk(piece)
        n += len(chunk)
        yield chunk
    last = stream.resample_chunk(np.empty(0, np.float32), last=True)
    if n + len(last) == 0:  # too short for one sample at 16 kHz: its peak stands for it
        last = np.ones(1, np.float32)
    yield last
