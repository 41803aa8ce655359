"""Made-up clips as extractors hear them, for tests of novelty."""

import numpy as np

from tagger.heard import TEXTURE_SIZE, Heard
from tagger.segments import bags

N_EXTRACTORS = 2
WAYS = np.random.default_rng(7).standard_normal((8, TEXTURE_SIZE))  # in which textures differ
Sound = tuple[Heard, np.ndarray]


def a_clip(rng: np.random.Generator, n_segments: int = 5, centre: float = 0.0) -> Heard:
    """Embeddings as ReLU leaves them, and textures; of kinds with other centres they differ."""
    embeddings = rng.standard_normal((N_EXTRACTORS, n_segments, 128)) + np.arange(128) % 3
    embeddings[..., :64] += centre
    along = rng.standard_normal(8) + 0.3 * rng.standard_normal((n_segments, 8)) + centre
    textures = along @ WAYS + 0.1 * rng.standard_normal((n_segments, TEXTURE_SIZE))
    return Heard(np.maximum(embeddings, 0).astype(np.float32), textures.astype(np.float32))


def a_sound(rng: np.random.Generator, n_segments: int = 5, centre: float = 0.0) -> Sound:
    """A clip with the ensemble's scores of its bags, the flatter the farther from the centre."""
    clip = a_clip(rng, n_segments, centre)
    logits = rng.standard_normal((-(-n_segments // 6), 4)) * 3 / (1 + centre)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return clip, shares.astype(np.float32)


def some_labels(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 4): one of four labels, of each clip."""
    return np.eye(4, dtype=bool)[rng.integers(0, 4, n)]


def plain_bags(clip: Heard) -> tuple[np.ndarray, np.ndarray]:
    """Mean embeddings (n_bags, n_extractors, 128) and textures (n_bags, 352), bag by bag."""
    index = bags(len(clip.texture), 6)
    embeddings = [[vectors[bag].mean(0) for vectors in clip.embeddings] for bag in index]
    rows = [clip.texture[bag] for bag in index]
    textures = [np.r_[each.mean(0), each[:, :64].std(0)] for each in rows]
    return np.array(embeddings), np.array(textures)
