"""What a network makes of examples, in batches and on its own device."""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tagger.arrays import IndexArray
from tagger.examples import Examples

BATCH: Final = 512  # examples


@torch.inference_mode()
def predict(
    network: nn.Module, examples: Examples, which: IndexArray
) -> tuple[npt.NDArray[np.float32], float]:
    """Probabilities (n, n_classes) of the examples ``which``, and their summed cross entropy."""
    network.eval()
    device = next(network.parameters()).device
    scores, loss = np.empty((len(which), examples.n_classes), np.float32), 0.0
    for start in range(0, len(which), BATCH):
        part = which[start : start + BATCH]
        logits = network(*inputs(examples, part, device)).float()
        labels = torch.from_numpy(examples.labels[part]).to(device)
        loss += cross_entropy(logits, labels, reduction="sum").item()
        scores[start : start + len(part)] = logits.softmax(-1).cpu().numpy()
    return scores, loss


def inputs(examples: Examples, which: IndexArray, device: torch.device) -> tuple[Tensor, ...]:
    """What a network is called with."""
    values = torch.from_numpy(examples.inputs(which)).to(device)
    if not examples.sequences:
        return (values,)
    return values, torch.from_numpy(examples.lengths(which))
