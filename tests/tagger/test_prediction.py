"""What networks say of examples, with one label a clip and with several."""

import numpy as np
import torch
from torch import Tensor, nn

from tagger.examples import Examples, Takes
from tagger.prediction import predict, probabilities, summed_loss

LOGITS = np.random.default_rng(0).normal(0, 2, (7, 4)).astype(np.float32)
SETS = np.random.default_rng(1).random((7, 4)) < 0.5


class Said(nn.Module):
    """Says of each example what its values are."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def examples(labels: np.ndarray) -> Examples:
    return Takes(LOGITS, np.arange(8), labels, 4).single()


def test_several_labels_have_a_probability_each():
    scores, loss = predict(Said(), examples(SETS), np.arange(7))
    expected = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)
    right = np.where(SETS, expected, 1 - expected)
    np.testing.assert_allclose(loss / 7, -np.log(right).mean(), rtol=1e-5)


def test_one_label_shares_the_probability_with_the_others():
    labels = np.array([0, 1, 2, 3, 3, 2, 1])
    scores, loss = predict(Said(), examples(labels), np.arange(7))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(loss / 7, -np.log(scores[range(7), labels]).mean(), rtol=1e-5)


def test_mixed_label_sets_are_shares_between_0_and_1():
    """Mixup: the loss is linear in the targets, so it is the same mixture of losses."""
    logits = torch.from_numpy(LOGITS)
    one, other = torch.from_numpy(SETS).float(), torch.from_numpy(~SETS).float()
    mixed = summed_loss(logits, 0.3 * one + 0.7 * other, "several")
    parts = 0.3 * summed_loss(logits, one, "several") + 0.7 * summed_loss(logits, other, "several")
    torch.testing.assert_close(mixed, parts)


def test_probabilities_of_no_class_depend_on_others_where_there_are_several_labels():
    logits = torch.from_numpy(LOGITS)
    changed = logits.clone()
    changed[:, 0] += 5
    assert torch.equal(
        probabilities(logits, "several")[:, 1:], probabilities(changed, "several")[:, 1:]
    )
    assert not torch.isclose(
        probabilities(logits, "one")[:, 1:], probabilities(changed, "one")[:, 1:]
    ).any()
