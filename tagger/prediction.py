"""The probabilities that a network gives to examples, in batches and on its own device."""

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tagger.arrays import FloatArray, IndexArray
from tagger.examples import Examples
from tagger.labels import Labelling

EXAMPLES_PER_PASS: Final = 512


def probabilities(logits: Tensor, labelling: Labelling) -> Tensor:
    """Softmax over the classes (..., K) where a clip has one label, the sigmoid where several."""
    return logits.softmax(-1) if labelling == "one" else logits.sigmoid()


def summed_loss(logits: Tensor, targets: Tensor, labelling: Labelling) -> Tensor:
    """What is wrong with predictions, in nats, summed over the examples.

    Cross entropy where a clip has one label; where several, binary cross entropy, its mean over the
    labels.

    Parameters
    ----------
    logits : (n, K)
    targets : shares of the classes (n, K); or labels, as of ``Examples``
    """
    if labelling == "one":
        return cross_entropy(logits, targets, reduction="sum")
    loss = binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="sum")
    return loss / logits.shape[-1]


@torch.inference_mode()
def predict(network: nn.Module, examples: Examples, which: IndexArray) -> tuple[FloatArray, float]:
    """What a network says of examples, and how wrong it is.

    Parameters
    ----------
    network : examples to logits (n, n_classes); it is left in evaluation mode
    which : (n,) int64 numbers of the examples

    Returns
    -------
    scores : (n, n_classes) float32, what ``probabilities`` makes of the logits
    loss : as of ``summed_loss``
    """
    network.eval()
    device, labelling = next(network.parameters()).device, examples.labelling
    scores, loss = np.empty((len(which), examples.n_classes), np.float32), 0.0
    for start in range(0, len(which), EXAMPLES_PER_PASS):
        part = which[start : start + EXAMPLES_PER_PASS]
        logits = network(*inputs(examples, part, device)).float()
        labels = torch.from_numpy(examples.labels[part]).to(device)
        loss += summed_loss(logits, labels, labelling).item()
        scores[start : start + len(part)] = probabilities(logits, labelling).cpu().numpy()
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
