"""The steps of Adam: learning rates, running mean, shares of workers."""

import numpy as np
import pytest
import torch
from torch import nn

from tagger.configs import TrainingConfig
from tagger.optimisation import Group, Optimisation, one_cycle


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def losses(trained: nn.Module, n: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    for _ in range(n):
        yield trained(torch.from_numpy(rng.normal(size=(8, 3)).astype(np.float32))).square().mean()


def test_one_cycle_rises_then_falls_to_nothing():
    assert one_cycle(0.0) == pytest.approx(0.04)
    assert one_cycle(0.1) == pytest.approx(1.0)
    assert one_cycle(1.0) == pytest.approx(0.0, abs=1e-12)
    shares = [one_cycle(progress) for progress in np.linspace(0, 1, 101)]
    assert np.argmax(shares) == 10


def test_the_shares_of_a_batch_are_its_parts_and_see_all_classes():
    batch = np.repeat(np.arange(6), 2)  # as balanced batches lie
    shares = [Group(rank, 2).share(batch) for rank in range(2)]
    assert sorted(np.concatenate(shares)) == sorted(batch)
    assert all(set(share) == set(range(6)) for share in shares)


def test_steps_are_those_of_torch_s_adam_with_its_one_cycle():
    """torch's own schedule in the momentum-free form: from 1/25 up in a tenth, cosines."""
    config = TrainingConfig(learning_rate=0.01, weight_decay=0.1, one_cycle=True)
    ours, theirs = network(), network()
    optimisation = Optimisation(ours, config, 20, Group())
    adam = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: one_cycle(step / 20))
    for our_loss, their_loss in zip(losses(ours, 20), losses(theirs, 20), strict=True):
        optimisation.step(our_loss)
        adam.zero_grad()
        their_loss.backward()
        adam.step()
        schedule.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_the_average_is_an_exponential_one_with_warm_up():
    """Step by step in plain numbers: decay t / (9 + t) until it reaches the decay asked for."""
    optimisation = Optimisation(network(), TrainingConfig(average=0.5), 20, Group())
    expected = optimisation.network[0].weight.detach().double().clone()
    for t, loss in enumerate(losses(optimisation.network, 20), start=1):
        optimisation.step(loss)
        decay = min(0.5, t / (9 + t))
        expected = decay * expected + (1 - decay) * optimisation.network[0].weight.detach()
    torch.testing.assert_close(
        optimisation.average[0].weight.detach().double(), expected, rtol=1e-5, atol=1e-7
    )
    for kept, latest in zip(
        optimisation.average.buffers(), optimisation.network.buffers(), strict=True
    ):
        assert torch.equal(kept, latest)


def test_without_an_average_the_network_is_what_is_kept():
    optimisation = Optimisation(network(), TrainingConfig(), 20, Group())
    assert optimisation.average is optimisation.network
