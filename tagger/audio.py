"""From a recording to the waveform that patches are made of (paper section 3.1; PAPER.md D1 to D3).

decode -> mono -> trim leading and trailing silence -> normalise to a peak of 1 -> 16 kHz.

Trimming and the peak need the whole recording, so there are two passes: the first finds the bounds
and the peak, the second yields the waveform. Recordings of some minutes are decoded once and kept
in memory in between. Longer ones are decoded twice, a block at a time, and give the very same
samples.

Times are seconds in the original recording: its first decoded sample is at 0.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import soxr

from tagger.arrays import FloatArray
from tagger.decoding import audio_tracks, decode_blocks
from tagger.errors import ClipError, Reason, Stage
from tagger.excerpt import Stretch, decode_stretch
from tagger.levels import NOTHING_BELOW_8_KHZ, Resampled, joined
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.recorded_at import from_header
from tagger.recording import Decoded, Mix, Source, mono
from tagger.survey import Survey, survey

MAX_HOURS: Final = 24.0

_T = TypeVar("_T")


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
    notes : None, or what readers of the tags should know, in phrases of ``tagger.levels``
    recorded_at : None, or when it was made as its header states it, in ISO 8601 without a zone
    """

    duration_s: float
    sample_rate_hz: int
    channels: int
    content_start_s: float
    content_end_s: float
    peak: float
    damage: str | None
    notes: str | None = None
    recorded_at: str | None = None


class Waveform:
    """The waveform of a recording at 16 kHz, in blocks; to be read once.

    Parameters
    ----------
    signal : the recording
    pieces : (n,) float32 each, its content at its own rate
    power : their mean square

    Attributes
    ----------
    signal : the same, with all notes once the blocks have been read
    """

    def __init__(self, signal: Signal, pieces: Iterable[FloatArray], power: float) -> None:
        self.signal = signal
        self._pieces = pieces
        self._power = power

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield (n,) float32 at 16 kHz, at least one sample in all."""
        rate = self.signal.sample_rate_hz
        if rate <= SAMPLE_RATE_HZ:
            yield from resampled(self._pieces, rate)
            return
        left = Resampled(self._power)
        for block in resampled(self._pieces, rate):
            left.add(block)
            yield block
        if left.is_empty:
            notes = joined(self.signal.notes, NOTHING_BELOW_8_KHZ)
            self.signal = replace(self.signal, notes=notes)


def load(
    source: Source, max_hours: float = MAX_HOURS, track: int | None = None
) -> tuple[Signal, Waveform]:
    """Decode a recording: what it is, and its waveform at 16 kHz in blocks.

    Parameters
    ----------
    source : bytes, local path, or seekable binary file object (which must stay open until the
        blocks are read, and is read again from its start if the recording is long)
    max_hours : longest recording to accept, in hours as decoded, whatever its header says
    track : number, from 1, of the audio track; None: the container's default

    Returns
    -------
    signal : the recording's description
    blocks : mono at 16 kHz: trimmed, with a peak of 1 before the resampling

    A recording that is damaged on the way is used as far as it decodes, and ``Signal.damage`` says
    so.

    Raises
    ------
    ClipError : nothing usable in it (``EMPTY``, ``UNSUPPORTED``, ``DECODE_ERROR``, ``NON_FINITE``,
        ``SILENT``, ``TOO_LONG``)
    OSError : the source itself cannot be read
    """
    return _returned(loading(source, max_hours, track))


def loading(
    source: Source, max_hours: float = MAX_HOURS, track: int | None = None
) -> Generator[float, None, tuple[Signal, Waveform]]:
    """``load`` as a generator that reports its progress.

    Yields
    ------
    hours of audio decoded since the last report, about one at a time; they add up to the duration,
    or to more where the channels are looked at one by one

    Returns
    -------
    What ``load`` returns.

    Raises
    ------
    ClipError, OSError : as ``load``
    """
    signal, pieces, power = yield from _normalised(source, max_hours, track)
    return signal, Waveform(signal, pieces, power)


def waveform(
    source: Source, max_hours: float = MAX_HOURS, track: int | None = None
) -> tuple[Signal, FloatArray]:
    """``load`` with the waveform in one piece, (n_samples,) float32 at 16 kHz.

    For recordings that fit into memory. Raises as ``load`` does.
    """
    _, blocks = load(source, max_hours, track)
    samples = np.concatenate(list(blocks))
    return blocks.signal, samples


def original(
    source: Source, max_hours: float = MAX_HOURS, stretch: Stretch | None = None
) -> tuple[Signal, FloatArray]:
    """The trimmed, normalised waveform at the recording's own rate, (n_samples,) float32.

    It is what pitch shifting starts from. Of a stretch of the recording, where one is given: then
    times count from its start. Raises as ``load`` does.
    """
    signal, pieces, _ = _returned(_normalised(source, max_hours, stretch=stretch))
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


def _normalised(
    source: Source, max_hours: float, track: int | None = None, stretch: Stretch | None = None
) -> Generator[float, None, tuple[Signal, Iterator[FloatArray], float]]:
    """The recording, its content with a peak of 1 at its own rate, and that one's mean square."""

    def decode(mix: Mix) -> Decoded:
        if stretch:
            return decode_stretch(source, mix, track, stretch)
        return decode_blocks(source, mix, track)

    found = yield from survey(decode, max_hours)
    if found.is_silent:
        detail = _silence(source, track, found)
        if found.damage:  # what is lost may not have been silent
            raise ClipError(Reason.DECODE_ERROR, f"{detail}; {found.damage}")
        raise ClipError(Reason.SILENT, detail)
    rate = found.sample_rate_hz
    start, end = found.bounds
    signal = Signal(
        duration_s=found.n_samples / rate,
        sample_rate_hz=rate,
        channels=found.channels,
        content_start_s=start / rate,
        content_end_s=end / rate,
        peak=found.peak,
        damage=found.damage,
        notes=found.notes,
        recorded_at=made.isoformat() if (made := from_header(source)) else None,
    )
    blocks = _blocks(decode, found.mix) if found.kept is None else iter(found.kept)
    power = found.envelope.energy(start, end) / (end - start) / found.peak**2
    return signal, _cut(blocks, start, end, found.peak), power


def _silence(source: Source, track: int | None, found: Survey) -> str:
    """What is silent: every sample of a recording, or this track while another one sounds."""
    n_tracks, default = audio_tracks(source)
    silent = track or default
    for other in range(1, n_tracks + 1):
        if other != silent and _sounds(source, other):
            return f"audio track {silent} of {n_tracks} is silent, but track {other} is not"
    return f"every sample is {found.highest or 'zero'}"


def _sounds(source: Source, track: int) -> bool:
    try:
        blocks = decode_blocks(source, mono, track).blocks
        return any(block.max() != block.min() for block in blocks)
    except ClipError:
        return False


def _blocks(decode: Callable[[Mix], Decoded], mix: Mix) -> Iterator[FloatArray]:
    """The blocks once more; the source is opened when the first of them is asked for."""
    yield from decode(mix).blocks


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
