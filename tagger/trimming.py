"""Where a recording is not silent (paper section 3.1; PAPER.md D2).

The bounds are those of ``librosa.effects.trim(y, top_db=60)`` with its other defaults: the RMS of
centred frames (zeros beyond the ends) is measured, and what lies from the first to the last frame
that is less than 60 dB below the loudest is kept. Here they are found block by block, so that a
recording of hours need not be held in memory.
"""

from typing import Final

import numpy as np

from tagger.arrays import FloatArray, RealArray

FRAME: Final = 2_048  # samples at the recording's own rate
HOP: Final = 512  # samples
RATIO: Final = 1e-6  # in power: 60 dB below the loudest frame
FLOOR: Final = 1e-10  # in power: librosa measures nothing quieter

_HUGE: Final = 1e15  # amplitudes whose squares leave float32


class Envelope:
    """Power over time of a waveform that comes in blocks.

    What is kept is the energy of each piece of ``HOP`` samples. A frame is four such pieces, so
    every sample is squared once.
    """

    def __init__(self) -> None:
        self.n_samples = 0
        self._energies: list[RealArray] = []  # per piece; the last may be incomplete

    def energy(self, start: int = 0, end: int | None = None) -> float:
        """Sum of squares between two samples such as ``bounds`` gives; of all by default."""
        energies = np.concatenate(self._energies, dtype=np.float64)
        last = None if end is None else -(-end // HOP)
        return float(energies[start // HOP : last].sum())

    def add(self, block: FloatArray, peak: float) -> None:
        """Add the next (n,) samples, none of them larger than ``peak`` in magnitude."""
        samples: RealArray = block.astype(np.float64) if peak > _HUGE else block
        n_open = min(-self.n_samples % HOP, len(samples))
        self.n_samples += len(samples)
        if n_open:
            self._energies[-1][-1] += np.dot(samples[:n_open], samples[:n_open])
        n_whole = (len(samples) - n_open) // HOP
        pieces = samples[n_open : n_open + n_whole * HOP].reshape(n_whole, HOP)
        rest = samples[n_open + n_whole * HOP :]
        if n_whole:
            self._energies.append(np.vecdot(pieces, pieces))
        if len(rest):
            self._energies.append(np.vecdot(rest, rest)[None])

    def bounds(self) -> tuple[int, int]:
        """The first sample that is not silent, and the one after the last.

        Something must have been added. Zeros alone are all kept, as librosa does.
        """
        energies = np.pad(np.concatenate(self._energies, dtype=np.float64), 2)
        n_frames = 1 + self.n_samples // HOP
        frames = sum(energies[k : k + n_frames] for k in range(FRAME // HOP))
        power = np.maximum(np.asarray(frames) / FRAME, FLOOR)
        loud = np.flatnonzero(power > RATIO * power.max())
        return int(loud[0]) * HOP, min(self.n_samples, (int(loud[-1]) + 1) * HOP)
