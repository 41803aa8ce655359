"""A model small enough for any test."""

from pathlib import Path

import torch

from tagger.attention import MultiLevelAttention
from tagger.calibration import Calibration
from tagger.checkpoint import save
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.labels import Label
from tagger.vggish import VGGish, initialise


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
