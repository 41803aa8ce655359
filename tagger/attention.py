"""The multi-level attention model (paper section 3.4, Figures 1 and 2; PAPER.md D16 to D18, D33).

Conventions: a bag is (n_segments, 128) embeddings; K is the number of classes; the paper's symbols
are kept: f_k(x_n) the classification of segment x_n, v_k(x_n) its weight, p_nk the weight
normalised over the segments of the bag.

With one segment a bag every p is 1, and the model is the plain "one second DNN with level
concatenation" of section 4.1 (rows of Table 2, row A of Table 3). With ``levels=(3,)`` it is the
single-level attention of Kong et al. 2017.

Where a clip has several labels, f_k and v_k are sigmoids: each class has a probability and an
attention of its own, as in Kong et al. 2019 and, for f_k, in PANNs (Kong et al. 2020).
"""

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from tagger.configs import AttentionConfig
from tagger.labels import Labelling
from tagger.prediction import probabilities
from tagger.schema import EMBEDDING_SIZE

WEIGHT_FLOOR: Final = 1e-7  # v is kept in [floor, 1 - floor] before it is normalised


class _TimeNorm(nn.BatchNorm1d):
    """Batch normalisation of the last axis over all others."""

    def forward(self, x: Tensor) -> Tensor:
        """The normalised values, of the shape (..., n) of ``x``."""
        return super().forward(x.flatten(0, -2)).view_as(x)


def _dense(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out), _TimeNorm(n_out))


class Attention(nn.Module):
    """One attention module (Figure 1): sum over n of p_nk f_k(x_n)."""

    def __init__(self, n_in: int, n_classes: int, labelling: Labelling) -> None:
        super().__init__()
        self.labelling = labelling
        self.weight = _dense(n_in, n_classes)
        self.classification = _dense(n_in, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (batch, K), weights p (batch, n_segments, K) of (batch, n_segments, n_in)."""
        v = probabilities(self.weight(x), self.labelling).clamp(WEIGHT_FLOOR, 1.0 - WEIGHT_FLOOR)
        p = v / v.sum(1, keepdim=True)
        f = probabilities(self.classification(x), self.labelling)
        return (p * f).sum(1), p


class MultiLevelAttention(nn.Module):
    """Three hidden layers, attention on each level, one layer on top (Figure 2)."""

    def __init__(
        self,
        n_classes: int,
        config: AttentionConfig = AttentionConfig(),
        labelling: Labelling = "one",
    ) -> None:
        super().__init__()
        self.config, self.labelling = config, labelling
        self.input_norm = _TimeNorm(EMBEDDING_SIZE)
        widths = [EMBEDDING_SIZE] + [config.hidden] * max(config.levels)
        self.hidden = nn.ModuleList(
            nn.Sequential(*_dense(n_in, n_out), nn.ReLU(inplace=True), nn.Dropout(config.dropout))
            for n_in, n_out in pairwise(widths)
        )
        self.attentions = nn.ModuleList(
            Attention(config.hidden, n_classes, labelling) for _ in config.levels
        )
        self.final = _dense(n_classes * len(config.levels), n_classes)

    def forward(self, bags: Tensor) -> Tensor:
        """Logits (batch, K) of bags (batch, n_segments, 128), before softmax or sigmoid."""
        return self.explain(bags)[0]

    def explain(self, bags: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, K) and the attention weights p, (batch, n_levels, n_segments, K)."""
        x = self.input_norm(bags)
        levels = []
        for layer in self.hidden:
            x = layer(x)
            levels.append(x)
        results = [
            attention(levels[level - 1])
            for level, attention in zip(self.config.levels, self.attentions, strict=True)
        ]
        predictions = torch.cat([prediction for prediction, _ in results], -1)
        return self.final(predictions), torch.stack([p for _, p in results], 1)
