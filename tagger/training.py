"""Training an extractor or a head (paper sections 2.2, 3.3, 4.1; PAPER.md D9 and D10).

One loop serves all networks: batches of examples, soft targets, optional mixup, Adam. The loss is
cross entropy where a clip has one label, binary cross entropy where several. An epoch is a pass
over the examples, or so many steps as the configuration says, which may be several passes.
Everything random is drawn anew per epoch from (seed, epoch). So a trainer that continues from
``state_dict`` goes on exactly as one that was never stopped, and keeps no generator states.

Several workers may train one network together, as a ``Group`` (``tagger.optimisation``).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tagger import metrics
from tagger.arrays import IndexArray
from tagger.configs import TrainingConfig
from tagger.errors import CommandError
from tagger.examples import Examples, batches
from tagger.feed import Feed
from tagger.optimisation import Group, Optimisation
from tagger.prediction import predict, summed_loss
from tagger.teachers import Teachers

__all__ = ["EpochMetrics", "Group", "Trainer"]


@dataclass(frozen=True)
class EpochMetrics:
    """What an epoch came to.

    Attributes
    ----------
    epoch : its number, from 1
    train_loss, validation_loss : in nats, mean per example; the validation's is None without
        validation examples
    validation_map_at_3 : MAP@3 of the mean over each clip's examples; None also where a clip has
        several labels
    n_examples : trained on
    seconds : training and validation together
    """

    epoch: int
    train_loss: float
    validation_loss: float | None
    validation_map_at_3: float | None
    n_examples: int
    seconds: float


class Trainer:
    """Trains ``network`` in place, an epoch at a time.

    Parameters
    ----------
    network : examples (n, ...) to logits (n, n_classes); called with (examples, lengths) where
        examples are padded sequences
    train, validation : validation is None where nothing is measured
    config : how to train
    group : the workers that train it together, this one's place among them
    device : of torch
    shift : whether patches are cut later than they lie, at places drawn anew
    teachers : trained networks of the same examples, which ``network`` learns from too

    Attributes
    ----------
    history : the metrics of the epochs so far

    Raises
    ------
    CommandError : shares of a batch too small for batch norm
    ValueError : early stopping without validation, mixup of sequences
    """

    def __init__(
        self,
        network: nn.Module,
        train: Examples,
        validation: Examples | None,
        config: TrainingConfig,
        group: Group = Group(),
        device: str = "cpu",
        shift: bool = False,
        teachers: Sequence[nn.Module] = (),
    ) -> None:
        if config.patience is not None and validation is None:
            raise ValueError("early stopping needs validation examples")
        self.config = config
        self.history: list[EpochMetrics] = []
        self._device = torch.device(device)
        self._train, self._validation, self._group = train, validation, group
        self._feed = Feed(train, config.mixup, shift, self._device)
        self._teachers = Teachers(teachers, train.labelling, self._device, config.bfloat16)
        sizes = [len(batch) for batch in self._batches(0)]
        _check_shares(network, min(sizes, default=0), group.size)
        network = network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimisation = Optimisation(network, config, config.epochs * len(sizes), group)
        self._best: dict[str, Tensor] = {}
        self._best_epoch = 0

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the validation loss has ceased to improve."""
        n_epochs, patience = len(self.history), self.config.patience
        stale = patience is not None and n_epochs - self._best_epoch >= patience
        return n_epochs >= self.config.epochs or (n_epochs > 0 and stale)

    def epoch(self) -> EpochMetrics:
        """Train for one epoch and measure.

        Raises
        ------
        FloatingPointError : a loss is no longer finite
        """
        start = time.perf_counter()
        number = len(self.history) + 1
        with torch.random.fork_rng():
            torch.manual_seed(_seed(self.config.seed, number, self._group.rank))
            loss, n_examples = self._train_epoch(number)
        _require_finite(loss, number)
        validation_loss, map_at_3 = self._measure(number)
        seconds = time.perf_counter() - start
        self.history.append(
            EpochMetrics(number, loss, validation_loss, map_at_3, n_examples, seconds)
        )
        if self.config.patience is not None and self._improved():
            self._best, self._best_epoch = self._weights(), number
        return self.history[-1]

    @property
    def best_epoch(self) -> int:
        """The number of the epoch whose weights are the result; 0 before the first."""
        return self._best_epoch if self.config.patience is not None else len(self.history)

    @property
    def n_steps(self) -> int:
        """Steps so far."""
        return self._optimisation.n_steps

    def weights(self) -> dict[str, Tensor]:
        """The result, on the CPU: weights of the best epoch, or the last without early stopping."""
        return self._best or self._weights()

    def state_dict(self) -> dict[str, Any]:
        """Everything that training depends on, readable by ``torch.load(weights_only=True)``."""
        return {
            **self._optimisation.state_dict(),
            "best": self._best,
            "best_epoch": self._best_epoch,
            "history": [asdict(metrics) for metrics in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the ``state_dict`` of a trainer of the same arguments, in any group."""
        self._optimisation.load_state_dict(state)
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]

    def _improved(self) -> bool:
        *before, now = [epoch.validation_loss or 0.0 for epoch in self.history]
        return not before or now < min(before)

    def _weights(self) -> dict[str, Tensor]:
        average = self._optimisation.average
        return {k: v.detach().cpu().clone() for k, v in average.state_dict().items()}

    def _batches(self, epoch: int) -> Iterator[IndexArray]:
        """Examples of each batch, the same for all workers."""
        rng = np.random.default_rng((self.config.seed, epoch, 0))
        passes = (
            batches(self._train, self.config.batches, self.config.batch_size, rng) for _ in count()
        )
        n_steps = self.config.steps_per_epoch
        return next(passes) if n_steps is None else islice(chain.from_iterable(passes), n_steps)

    def _train_epoch(self, number: int) -> tuple[float, int]:
        """Mean loss per example, and how many examples there were."""
        self._optimisation.network.train()
        rng = np.random.default_rng((self.config.seed, number, 1))
        total, n_examples = torch.zeros((), dtype=torch.float64, device=self._device), 0
        for batch in self._batches(number):
            total += self._step(batch, rng)
            n_examples += len(batch)
        self._group.add_up(total)
        self._optimisation.share_statistics()
        return total.item() / n_examples, n_examples

    def _step(self, batch: IndexArray, rng: np.random.Generator) -> Tensor:
        """Learn from this worker's share of a batch; the share's summed loss."""
        mine = self._group.share(np.arange(len(batch)))
        values, targets = self._feed.step(batch, mine, rng)
        targets = self._teachers.targets(values, targets)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.bfloat16):
            logits = self._optimisation.network(*values)
        loss = summed_loss(logits.float(), targets, self._train.labelling)
        self._optimisation.step(loss / len(batch))
        return loss.detach().double()

    def _measure(self, number: int) -> tuple[float | None, float | None]:
        """Validation loss per example; with one label a clip MAP@3, as ``EpochMetrics`` have it."""
        examples = self._validation
        if examples is None:
            return None, None
        takes = self._group.share(np.unique(examples.takes))
        which = np.flatnonzero(np.isin(examples.takes, takes))
        scores, loss = predict(self._optimisation.average, examples, which)
        _, first = np.unique(examples.takes[which], return_index=True)
        points = 0.0
        one = examples.labelling == "one"
        if one and len(first) and np.isfinite(loss):
            ranking = metrics.rank(np.add.reduceat(scores, first))
            truth = examples.labels[which][first]
            points = metrics.average_precision(ranking, truth).sum()
        sums = torch.tensor([loss, len(which), points, len(first)], dtype=torch.float64)
        sums = sums.to(self._device)
        self._group.add_up(sums)
        loss, n_examples, points, n_clips = sums.tolist()
        _require_finite(loss, number)
        return loss / n_examples, points / n_clips if one else None


def _require_finite(loss: float, epoch: int) -> None:
    """FloatingPointError for a loss over all workers, so that all of them stop."""
    if not np.isfinite(loss):
        raise FloatingPointError(f"loss {loss} in epoch {epoch}: lower the learning rate")


def _check_shares(network: nn.Module, batch_size: int, n_workers: int) -> None:
    """CommandError where a share may hold one example, which has no variance to normalise by."""
    if batch_size < 2 * n_workers and any(isinstance(m, nn.BatchNorm1d) for m in network.modules()):
        raise CommandError(
            f"a batch of {batch_size} examples is too small to be normalised by {n_workers} "
            "workers: take fewer workers, larger batches, or no batch normalisation"
        )


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
