"""Small data sets of synthetic sounds, for the tests of the training chain."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000


def tone(label: int, seed: int, seconds: float = 1.0) -> np.ndarray:
    """A tone whose pitch tells the class, in some noise; (n,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = 300 * 1.8**label * rng.uniform(0.98, 1.02)
    return (0.5 * np.sin(2 * np.pi * pitch * t) + rng.normal(0, 0.02, len(t))).astype(np.float32)


def write_folds(folder: Path, n_classes: int = 3, per_fold: int = 3, n_folds: int = 2) -> Path:
    """A CSV of uri, label and fold, and its recordings of 1 or 2.5 seconds."""
    rows = ["uri,label,fold"]
    for fold in range(1, n_folds + 1):
        for label in range(n_classes):
            for i in range(per_fold):
                name = f"{fold}-{label}-{i}.wav"
                seed = 1000 * fold + 100 * label + i
                soundfile.write(folder / name, tone(label, seed, 1.0 if i % 2 else 2.5), RATE_HZ)
                rows.append(f"{name},class{label},{fold}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"
