"""The steps of Adam on one network, by one worker alone or by several together.

Each of several workers draws the same batches, works on its share of every batch, and divides the
loss by the size of the whole batch; the sum of their gradients is that of one worker alone. Batch
norm and dropout, where a network has them, work on each worker's share. How to sum over workers is
given as a function: nothing here knows a cluster.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from tagger.arrays import IndexArray
from tagger.configs import TrainingConfig

ONE_CYCLE_RISE: Final = 0.1  # of all steps
ONE_CYCLE_START: Final = 0.04  # of the highest learning rate


@dataclass(frozen=True)
class Group:
    """The workers that train one network together, and this one's place among them.

    Attributes
    ----------
    rank : of this worker, from 0
    size : how many workers there are
    add_up : replaces a tensor by its sum over all workers, in place; all of them call it in turn
    """

    rank: int = 0
    size: int = 1
    add_up: Callable[[Tensor], object] = field(default=lambda tensor: None)

    def share(self, which: IndexArray) -> IndexArray:
        """This worker's part of a batch or of anything else in order.

        It is every ``size``-th one: balanced batches lie by class, and each share sees all classes.
        """
        return which[self.rank :: self.size]


def one_cycle(progress: float) -> float:
    """The learning rate, as a share of the highest, after a share ``progress`` of all steps.

    It rises along a cosine from 0.04 to 1 in the first tenth and falls along one to 0 in the rest
    (Smith and Topin 2018).
    """
    if progress < ONE_CYCLE_RISE:
        rise = 0.5 - 0.5 * np.cos(np.pi * progress / ONE_CYCLE_RISE)
        return float(ONE_CYCLE_START + (1 - ONE_CYCLE_START) * rise)
    return float(0.5 + 0.5 * np.cos(np.pi * (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)))


class Optimisation:
    """A network, the running mean of its weights, and the state of Adam.

    Parameters
    ----------
    network : trained in place
    config : learning rate, its schedule, weight decay, running mean
    n_steps_in_all : of all epochs, by which the learning rate is scheduled
    group : the workers

    Attributes
    ----------
    network : what is trained
    average : the running mean, which is what is evaluated and kept; without one the network itself
    n_steps : taken so far
    """

    def __init__(
        self, network: nn.Module, config: TrainingConfig, n_steps_in_all: int, group: Group
    ) -> None:
        self.network = network
        self.average = deepcopy(network) if config.average else network
        self._config, self._group = config, group
        self._adam = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.n_steps, self._n_steps_in_all = 0, n_steps_in_all

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of ``loss``, this worker's part of the batch's mean."""
        self._adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._add_up_gradients()
        if self._config.one_cycle:
            share = one_cycle(self.n_steps / self._n_steps_in_all)
            for settings in self._adam.param_groups:
                settings["lr"] = share * self._config.learning_rate
        self._adam.step()
        self.n_steps += 1
        if self._config.average:
            self._update_average()

    @torch.no_grad()
    def share_statistics(self) -> None:
        """Make the running statistics of batch norm their mean over all workers."""
        for buffer in (*self.network.buffers(), *self.average.buffers()):
            if self._group.size > 1 and buffer.is_floating_point():
                self._group.add_up(buffer.div_(self._group.size))

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._adam.state_dict(),
            "n_steps": self.n_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a ``state_dict`` of the same arguments; other keys are ignored."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._adam.load_state_dict(state["optimiser"])
        self.n_steps = state["n_steps"]

    def _add_up_gradients(self) -> None:
        """Sum the gradients over all workers, as one tensor."""
        if self._group.size == 1:
            return
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._group.add_up(flat)
        start = 0
        for gradient in gradients:
            part = flat[start : start + gradient.numel()]
            gradient.copy_(part.view(gradient.shape))
            start += gradient.numel()

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average with warm-up: in early steps the decay is lower."""
        decay = min(self._config.average, self.n_steps / (9 + self.n_steps))
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for kept, latest in zip(self.average.buffers(), self.network.buffers(), strict=True):
            kept.copy_(latest)
