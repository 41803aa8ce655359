"""Recordings of noise, written on the spot."""

from pathlib import Path

import numpy as np
import soundfile


def write_sound(
    path: Path,
    seconds: float = 1.0,
    rate: int = 16_000,
    channels: int = 1,
    subtype: str | None = None,
    seed: int = 0,
) -> Path:
    """Write noise, the same for a seed; the suffix tells the format. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (round(seconds * rate), channels)
    samples = 0.1 * np.random.default_rng(seed).standard_normal(shape)
    soundfile.write(path, samples, rate, subtype)
    return path


def write_sounds(folder: Path, n: int, seconds: float = 1.0) -> Path:
    """Write ``0.wav`` to ``<n - 1>.wav``, all different. Returns the folder."""
    for seed in range(n):
        write_sound(folder / f"{seed}.wav", seconds, seed=seed)
    return folder
