"""Training an extractor or a head (paper sections 2.2, 3.3, 4.1; reference/system.md 5).

One loop serves all networks: batches of examples, soft-target cross entropy, optional mixup, Adam.
Everything random is drawn anew per epoch from (seed, epoch), so a trainer that continues from
``state_dict`` goes on exactly as one that was never stopped, and holds no generator states.

Several workers may train one network together. Each draws the same batches, works on its share of
every batch, and divides by the size of the whole batch; the sum of their gradients is that of one
worker alone. Batch norm and dropout, where a network has them, work on each worker's share; the
running statistics become the mean over workers after every epoch. How to sum is given as a
function: this module knows no cluster.
"""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tagger import metrics, mixup
from tagger.arrays import IndexArray
from tagger.configs import TrainingConfig
from tagger.errors import CommandError
from tagger.examples import Examples, batches
from tagger.prediction import inputs, predict

ONE_CYCLE_RISE: Final = 0.1  # of all steps


@dataclass(frozen=True)
class EpochMetrics:
    """What an epoch came to; losses are means per example, the validation's None without one."""

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_map_at_3: float | None
    n_examples: int
    seconds: float


@dataclass(frozen=True)
class Group:
    """The workers that train one network together; ``add_up`` sums a tensor over them, in place."""

    rank: int = 0
    size: int = 1
    add_up: Callable[[Tensor], object] = field(default=lambda tensor: None)

    def share(self, which: IndexArray) -> IndexArray:
        """This worker's part of a batch: every so many, since balanced batches lie by class."""
        return which[self.rank :: self.size]


def one_cycle(progress: float) -> float:
    """The share of the highest learning rate after a share of all steps: up, then down to 0.

    Cosines from 1/25 to 1 in the first tenth, and to 0 in the rest (Smith and Topin 2018).
    """
    if progress < ONE_CYCLE_RISE:
        rise = 0.5 - 0.5 * np.cos(np.pi * progress / ONE_CYCLE_RISE)
        return float(0.04 + 0.96 * rise)
    return float(0.5 + 0.5 * np.cos(np.pi * (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)))


class Trainer:
    """Trains ``network`` in place, an epoch at a time.

    Parameters
    ----------
    network : examples (n, ...) to logits (n, n_classes); takes (examples, lengths) where examples
        are padded sequences
    train, validation : validation is None where nothing is measured
    group : the workers, this one's place among them

    Raises
    ------
    CommandError : shares of a batch too small for batch norm
    """

    def __init__(
        self,
        network: nn.Module,
        train: Examples,
        validation: Examples | None,
        config: TrainingConfig,
        group: Group = Group(),
        device: str = "cpu",
    ) -> None:
        if config.patience is not None and validation is None:
            raise ValueError("early stopping needs validation examples")
        if config.mixup and train.sequences:
            raise ValueError("sequences of unequal length cannot be mixed")
        self.config = config
        self.history: list[EpochMetrics] = []
        self._device = torch.device(device)
        self._network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = deepcopy(self._network) if config.average else self._network
        self._train, self._validation, self._group = train, validation, group
        self._optimiser = torch.optim.AdamW(
            self._network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        sizes = [len(batch) for batch in self._batches(0)]
        _check_shares(self._network, min(sizes, default=0), group.size)
        self._n_steps_in_all = config.epochs * len(sizes)
        self._n_steps = 0
        self._best: dict[str, Tensor] = {}
        self._best_epoch = 0

    @property
    def finished(self) -> bool:
        n_epochs, patience = len(self.history), self.config.patience
        stale = patience is not None and n_epochs - self._best_epoch >= patience
        return n_epochs >= self.config.epochs or (n_epochs > 0 and stale)

    def epoch(self) -> EpochMetrics:
        """Train for one epoch and measure.

        Raises
        ------
        FloatingPointError : the loss is no longer finite
        """
        start = time.perf_counter()
        number = len(self.history) + 1
        with torch.random.fork_rng():
            torch.manual_seed(_seed(self.config.seed, number, self._group.rank))
            loss, n_examples = self._train_epoch(number)
        if not np.isfinite(loss):
            raise FloatingPointError(f"loss {loss} in epoch {number}: lower the learning rate")
        validation_loss, map_at_3 = self._measure()
        seconds = time.perf_counter() - start
        self.history.append(
            EpochMetrics(number, loss, validation_loss, map_at_3, n_examples, seconds)
        )
        if self.config.patience is not None and self._improved():
            self._best, self._best_epoch = self._weights(), number
        return self.history[-1]

    def _improved(self) -> bool:
        *before, now = [epoch.validation_loss or 0.0 for epoch in self.history]
        return not before or now < min(before)

    @property
    def best_epoch(self) -> int:
        """The epoch whose weights are the result."""
        return self._best_epoch if self.config.patience is not None else len(self.history)

    def weights(self) -> dict[str, Tensor]:
        """The result: the weights of the best epoch, or without early stopping the last ones."""
        return self._best or self._weights()

    def state_dict(self) -> dict[str, Any]:
        """Everything that training depends on; ``torch.load(weights_only=True)`` takes it."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "n_steps": self._n_steps,
            "best": self._best,
            "best_epoch": self._best_epoch,
            "history": [asdict(metrics) for metrics in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken, by a trainer of the same arguments."""
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._n_steps = state["n_steps"]
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().cpu().clone() for k, v in self._average.state_dict().items()}

    def _batches(self, epoch: int) -> Iterator[IndexArray]:
        """Examples of each batch, the same for all workers."""
        rng = np.random.default_rng((self.config.seed, epoch, 0))
        return batches(self._train, self.config.batches, self.config.batch_size, rng)

    def _train_epoch(self, number: int) -> tuple[float, int]:
        """Mean loss per example, and how many examples there were."""
        self._network.train()
        rng = np.random.default_rng((self.config.seed, number, 1))
        total, n_examples = torch.zeros((), dtype=torch.float64, device=self._device), 0
        for batch in self._batches(number):
            total += self._step(batch, rng)
            n_examples += len(batch)
        self._group.add_up(total)
        self._share_statistics()
        return total.item() / n_examples, n_examples

    def _step(self, batch: IndexArray, rng: np.random.Generator) -> Tensor:
        """One step of the optimiser; the summed loss of this worker's share."""
        mine = self._group.share(np.arange(len(batch)))
        values, targets = self._mixed(batch, mine, rng)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bfloat16):
            logits = self._network(*values)
        loss = cross_entropy(logits.float(), targets, reduction="sum")
        self._optimiser.zero_grad()
        (loss / len(batch)).backward()  # type: ignore[no-untyped-call]
        self._add_up_gradients()
        if self.config.one_cycle:
            share = one_cycle(self._n_steps / self._n_steps_in_all)
            for settings in self._optimiser.param_groups:
                settings["lr"] = share * self.config.learning_rate
        self._optimiser.step()
        self._n_steps += 1
        self._follow()
        return loss.detach().double()

    def _mixed(
        self, batch: IndexArray, mine: IndexArray, rng: np.random.Generator
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Inputs of the network and targets of the examples at ``mine`` of the batch."""
        if not self.config.mixup:
            return inputs(self._train, batch[mine], self._device), self._targets(batch[mine])
        share, partners = mixup.draw(len(batch), self.config.mixup, rng)
        # The pairs of this worker's share: its examples, then their partners.
        both = np.concatenate([batch[mine], batch[partners[mine]]])
        n = len(mine)
        weights = torch.from_numpy(np.tile(share[mine], 2)).to(self._device)
        swapped = torch.arange(2 * n, device=self._device).roll(n)
        (values,) = inputs(self._train, both, self._device)
        mixed = mixup.apply(values, weights, swapped)[:n]
        return (mixed,), mixup.apply(self._targets(both), weights, swapped)[:n]

    def _targets(self, which: IndexArray) -> Tensor:
        return torch.from_numpy(self._train.targets(which)).to(self._device)

    def _add_up_gradients(self) -> None:
        if self._group.size == 1:
            return
        gradients = [p.grad for p in self._network.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        self._group.add_up(flat)
        start = 0
        for gradient in gradients:
            part = flat[start : start + gradient.numel()]
            gradient.copy_(part.view(gradient.shape))
            start += gradient.numel()

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Running statistics of batch norm, as their mean over all workers."""
        for buffer in (*self._network.buffers(), *self._average.buffers()):
            if self._group.size > 1 and buffer.is_floating_point():
                self._group.add_up(buffer.div_(self._group.size))

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the running mean of the weights; it forgets its start sooner than its decay says."""
        if not self.config.average:
            return
        decay = min(self.config.average, self._n_steps / (9 + self._n_steps))
        for mean, value in zip(self._average.parameters(), self._network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)
        for mean, value in zip(self._average.buffers(), self._network.buffers(), strict=True):
            mean.copy_(value)

    def _measure(self) -> tuple[float | None, float | None]:
        """Validation loss per example, and MAP@3 of the mean over each clip's examples."""
        examples = self._validation
        if examples is None:
            return None, None
        takes = self._group.share(np.unique(examples.takes))
        which = np.flatnonzero(np.isin(examples.takes, takes))
        scores, loss = predict(self._average, examples, which)
        _, first = np.unique(examples.takes[which], return_index=True)
        means = np.add.reduceat(scores, first) if len(first) else scores
        precision = metrics.average_precision(metrics.rank(means), examples.labels[which][first])
        sums = torch.tensor([loss, len(which), precision.sum(), len(first)], dtype=torch.float64)
        sums = sums.to(self._device)
        self._group.add_up(sums)
        loss, n_examples, points, n_clips = sums.tolist()
        return loss / n_examples, points / n_clips


def _check_shares(network: nn.Module, batch_size: int, n_workers: int) -> None:
    """A single example has no variance to normalise by."""
    if batch_size < 2 * n_workers and any(isinstance(m, nn.BatchNorm1d) for m in network.modules()):
        raise CommandError(
            f"a batch of {batch_size} examples is too small to be normalised by {n_workers} "
            "workers: take fewer workers, larger batches, or no batch normalisation"
        )


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
