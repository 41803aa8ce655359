"""Models small enough for any test."""

from pathlib import Path

import numpy as np
import torch

from tagger.attention import MultiLevelAttention
from tagger.calibration import Calibration
from tagger.card import read_model
from tagger.checkpoint import build, save
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.heard import Heard, texture
from tagger.labels import Label
from tagger.logmel import SAMPLE_RATE_HZ, patches
from tagger.novelty import Novelty
from tagger.reference import Reference
from tagger.tagging import Tagger
from tagger.vggish import VGGish, initialise

N_TRAINED = 64  # noises that a model is said to be trained on


def save_tiny_model(folder: Path, seed: int = 1, calibration: Calibration | None = None) -> Path:
    """Two extractors, two members and three labels, untrained; the same for a seed."""
    torch.manual_seed(seed)
    labels = [Label("Rain", "/m/06mb1"), Label("Dog", "/m/0bt9lr"), Label("Unheard of")]
    extractors = {name: VGGish(VGGishConfig((2, 3, 4, 5), 8, "none")) for name in "ab"}
    heads = [(name, MultiLevelAttention(3, AttentionConfig(hidden=8))) for name in "ab"]
    for network in (*extractors.values(), *(head for _, head in heads)):
        initialise(network)
    save(folder, "tiny", labels, extractors, heads, {}, calibration=calibration)
    return folder


def save_model_that_knows_noise(folder: Path, n_known: int = 40) -> Path:
    """The same model, to which all is strange but noise as ``sounds`` writes it."""
    tagger = Tagger.load(save_tiny_model(folder))
    heard = [_noise(tagger, seed) for seed in range(1000, 1000 + N_TRAINED + n_known)]
    trained, others = heard[:N_TRAINED], heard[N_TRAINED:]
    reference = Reference.of(trained, np.eye(3, dtype=bool)[[0] * N_TRAINED])
    predictions = tagger.predict([clip.embeddings for clip in others])
    known = zip(others, predictions, strict=True)
    distances = [reference.distances(clip, found.bag_scores) for clip, found in known]
    networks = build(read_model(folder))
    heads = list(zip(networks.extractors, networks.heads, strict=True))
    novelty = Novelty.fit(reference, np.array(distances))
    save(folder, "tiny", tagger.card.labels, networks.extractors, heads, {}, novelty=novelty)
    return folder


def _noise(tagger: Tagger, seed: int) -> Heard:
    noise = np.random.default_rng(seed).standard_normal(SAMPLE_RATE_HZ).astype(np.float32)
    found = patches(noise / np.abs(noise).max())
    return Heard(tagger.embed(found), texture(found))
