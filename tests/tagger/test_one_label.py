"""The paper's training, one label a clip, gives the figures that it gave (golden numbers).

They were made before networks could learn several labels a clip. Other processors and versions of
torch round otherwise, by far less than the tolerance.
"""

from typing import Final

import numpy as np
import pytest
import torch
from torch import nn

from tagger import ensemble
from tagger.attention import MultiLevelAttention
from tagger.baselines import LSTMHead
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.examples import Takes
from tagger.training import Trainer
from tagger.vggish import NormalisedClassifier, VGGish, VGGishClassifier, initialise_from_data

N_CLASSES = 3
MIXED = TrainingConfig(epochs=2, batches="balanced", learning_rate=1e-3, mixup=0.2, average=0.9)
BAGS = TrainingConfig(epochs=2, batches="examples", batch_size=8, learning_rate=1e-3, mixup=0.2)
CLIPS = TrainingConfig(epochs=2, batches="unbalanced", batch_size=8, learning_rate=1e-3)

TRAINING_LOSS: Final = {
    "extractor": [1.10335050, 1.09166026],
    "head": [1.48356555, 1.66851688],
    "lstm": [1.07978471, 1.06209520],
}
"""Of two epochs. Biases before batch normalisation have no gradient but rounding, which Adam makes
steps of. They move what such a network says in evaluation mode by 1e-4, not what it learns from."""

LSTM_VALIDATION_LOSS: Final = [1.12628039, 1.12640421]
ENSEMBLE: Final = [0.22016315, 0.052595, 0.45266953, 0.27457231]


def takes(shape: tuple[int, ...], seed: int) -> Takes:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 4, 12)
    labels = np.arange(12) % N_CLASSES
    values = rng.normal(0, 1, (lengths.sum(), *shape)).astype(np.float32)
    values[:, :9] += np.repeat(labels, lengths).reshape(-1, *[1] * len(shape)) / 4
    return Takes(values, np.concatenate([[0], np.cumsum(lengths)]), labels, N_CLASSES)


def extractor() -> Trainer:
    train, validation = takes((96, 64), 0).single(), takes((96, 64), 1).single()
    network = VGGishClassifier(VGGish(VGGishConfig((2, 2, 4, 4), 8)), N_CLASSES)
    initialise_from_data(network, torch.from_numpy(train.values))
    return Trainer(NormalisedClassifier(network), train, validation, MIXED)


def head() -> Trainer:
    network = MultiLevelAttention(N_CLASSES, AttentionConfig(hidden=16))
    return Trainer(network, takes((128,), 2).bags(2), takes((128,), 3).bags(2), BAGS)


def lstm() -> Trainer:
    network: nn.Module = LSTMHead(N_CLASSES, LSTMConfig(8))
    return Trainer(network, takes((128,), 4).whole(), takes((128,), 5).whole(), CLIPS)


@pytest.mark.parametrize("make", [extractor, head, lstm])
def test_a_training_gives_the_figures_that_it_gave(make):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        trainer = make()
    epochs = [trainer.epoch(), trainer.epoch()]
    found = [epoch.train_loss for epoch in epochs]
    np.testing.assert_allclose(found, TRAINING_LOSS[make.__name__], rtol=1e-6, atol=1e-6)
    if make is lstm:
        found = [epoch.validation_loss for epoch in epochs]
        np.testing.assert_allclose(found, LSTM_VALIDATION_LOSS, rtol=1e-6, atol=1e-6)


def test_an_ensemble_gives_the_scores_that_it_gave():
    rng = np.random.default_rng(6)
    members = rng.dirichlet(np.ones(4), (3, 5)).astype(np.float32)
    mean = ensemble.geometric_mean(members)
    np.testing.assert_allclose(mean[0], ENSEMBLE, atol=1e-6)
