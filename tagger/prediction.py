"""The probabilities that a network gives to examples, in batches and on its own device."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tagger.arrays import FloatArray, IndexArray
from tagger.examples import Examples

EXAMPLES_PER_PASS: Final = 512


@torch.inference_mode()
def predict(network: nn.Module, examples: Examples, which: IndexArray) -> tuple[FloatArray, float]:
    """What a network says of examples, and how wrong it is.

    Parameters
    ----------
    network : examples to logits (n, n_classes); it is left in evaluation mode
    which : (n,) int64 numbers of the examples

    Returns
    -------
    probabilities : (n, n_classes) float32, over the classes they sum to 1
    loss : cross entropy, in nats, summed over the examples
    """
    network.eval()
    device = next(network.parameters()).device
    scores, loss = np.empty((len(which), examples.n_classes), np.float32), 0.0
    for start in range(0, len(which), EXAMPLES_PER_PASS):
        part = which[start : start + EXAMPLES_PER_PASS]
        logits = network(*inputs(examples, part, device)).float()
        labels = torch.from_numpy(examples.labels[part]).to(device)
        loss += cross_entropy(logits, labels, reduction="sum").item()
        scores[start : start + len(part)] = logits.softmax(-1).cpu().numpy()
    return scores, loss


def inputs(examples: Examples, which: IndexArray, device: torch.device) -> tuple[Tensor, ...]:
    """The arguments of a network: the examples, and their lengths where they are sequences.

    Parameters
    ----------
    which : (n,) int64 numbers of the examples

    Returns
    -------
    values : (n, ...) float32 on ``device``
    lengths : (n,) int64 on ``device``; only where ``examples.sequences``
    """
    values = torch.from_numpy(examples.inputs(which)).to(device)
    if not examples.sequences:
        return (values,)
    return values, torch.from_numpy(examples.lengths(which))
