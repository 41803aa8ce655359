"""Distillation: targets that trained networks help to make, against a plain version."""

import numpy as np
import pytest
import torch
from torch import nn

from tagger.teachers import TEACHERS_SHARE, Teachers

CPU = torch.device("cpu")


def networks(n: int) -> list[nn.Module]:
    """With dropout, which would make them say something else each time while training."""
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)) for _ in range(n)]


@pytest.mark.parametrize("labelling", ["one", "several"])
def test_targets_are_the_mean_of_what_teachers_say_beside_the_labels(labelling):
    taught_by, values = networks(2), torch.randn(4, 5)
    labels = torch.eye(3)[[0, 2, 1, 1]]
    found = Teachers(taught_by, labelling, CPU, bfloat16=False).targets((values,), labels)
    assert not found.requires_grad
    for row, target in enumerate(found.numpy()):
        said = []
        for network in taught_by:
            logits = network[0](values[row]).detach().numpy().astype(np.float64)
            odds = np.exp(logits)
            said.append(odds / odds.sum() if labelling == "one" else odds / (1 + odds))
        slow = TEACHERS_SHARE * np.mean(said, 0) + (1 - TEACHERS_SHARE) * labels[row].numpy()
        np.testing.assert_allclose(target, slow, atol=1e-6)


def test_without_teachers_the_labels_are_the_targets():
    labels = torch.eye(3)
    assert Teachers([], "one", CPU, bfloat16=False).targets((torch.randn(3, 5),), labels) is labels
