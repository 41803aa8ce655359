"""The training loop: determinism, resuming, early stopping, several workers (section 2.2)."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tagger.attention import MultiLevelAttention
from tagger.baselines import LSTMHead
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.examples import Examples, Takes
from tagger.optimisation import Group
from tagger.training import Trainer
from tagger.vggish import NormalisedClassifier, VGGish, VGGishClassifier, initialise_from_data

N_CLASSES = 3
ALONE = Group()
PATCHES = TrainingConfig(
    epochs=4,
    patience=2,
    batches="balanced",
    learning_rate=2e-3,
    weight_decay=1e-4,
    one_cycle=True,
    average=0.9,
    mixup=0.2,
)
BAGS = TrainingConfig(epochs=4, patience=3, batches="examples", batch_size=8, learning_rate=3e-3)


def patch_takes(seed: int, n_takes: int = 9) -> Takes:
    """Patches whose class is the third of the bands that is louder."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 3, n_takes)
    labels = np.arange(n_takes) % N_CLASSES
    values = rng.normal(-2, 1, (lengths.sum(), 96, 64)).astype(np.float16)
    for value, label in zip(values, np.repeat(labels, lengths), strict=True):
        value[:, label * 21 : label * 21 + 21] += 1
    return Takes(values, np.concatenate([[0], np.cumsum(lengths)]), labels, N_CLASSES)


def embedding_takes(seed: int, n_takes: int = 30, noise: float = 0.3) -> Takes:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 9, n_takes)
    labels = np.arange(n_takes) % N_CLASSES
    values = rng.normal(0, noise, (lengths.sum(), 128)).astype(np.float32)
    values[:, :N_CLASSES] += np.eye(N_CLASSES, dtype=np.float32)[np.repeat(labels, lengths)]
    return Takes(values, np.concatenate([[0], np.cumsum(lengths)]), labels, N_CLASSES)


def classifier(
    takes: Takes, config: VGGishConfig = VGGishConfig((2, 2, 4, 4), 8)
) -> VGGishClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = VGGishClassifier(VGGish(config), N_CLASSES)
        initialise_from_data(network, torch.from_numpy(takes.values.astype(np.float32)))
    return network


def extractor_trainer(config: TrainingConfig = PATCHES, group: Group = ALONE) -> Trainer:
    train = patch_takes(0)
    return Trainer(classifier(train), train.single(), patch_takes(1).single(), config, group)


def head(seed: int = 7) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MultiLevelAttention(N_CLASSES, AttentionConfig(hidden=16))


def head_trainer(config: TrainingConfig = BAGS) -> Trainer:
    validation = embedding_takes(1).bags(6)
    return Trainer(head(), embedding_takes(0).bags(6), validation, config)


def lstm_trainer(config: TrainingConfig = BAGS) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = LSTMHead(N_CLASSES, LSTMConfig(8))
    validation = embedding_takes(1).whole()
    return Trainer(network, embedding_takes(0).whole(), validation, config)


def run(trainer: Trainer) -> Trainer:
    while not trainer.finished:
        trainer.epoch()
    return trainer


def curve(trainer: Trainer) -> list[tuple[float, float | None]]:
    return [(epoch.train_loss, epoch.validation_loss) for epoch in trainer.history]


def assert_equal_weights(one: Trainer, other: Trainer) -> None:
    assert one.weights().keys() == other.weights().keys()
    for name, tensor in one.weights().items():
        assert torch.equal(tensor, other.weights()[name]), name


TRAINERS = pytest.mark.parametrize("make", [extractor_trainer, head_trainer, lstm_trainer])


@TRAINERS
def test_the_same_seed_gives_the_same_network(make):
    torch.manual_seed(1)
    one = run(make())
    torch.manual_seed(2)  # what else draws random numbers makes no difference
    other = run(make())
    assert curve(one) == curve(other)
    assert_equal_weights(one, other)


@TRAINERS
def test_another_seed_gives_another_network(make):
    config = replace(PATCHES if make is extractor_trainer else BAGS, seed=1)
    assert curve(run(make())) != curve(run(make(config)))


@TRAINERS
def test_going_on_from_a_state_equals_never_having_stopped(make):
    undisturbed = run(make())
    stopped = make()
    stopped.epoch()
    stopped.epoch()
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)
    resumed = make()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert curve(run(resumed)) == curve(undisturbed)
    assert resumed.best_epoch == undisturbed.best_epoch
    assert_equal_weights(resumed, undisturbed)


def test_early_stopping_keeps_the_best_epoch():
    # Few noisy examples and no mixup: the head soon learns them by heart.
    config = replace(BAGS, epochs=40, patience=4, learning_rate=1e-2)
    train, validation = embedding_takes(0, 12, 2.0).bags(6), embedding_takes(1, 30, 2.0).bags(6)
    stopped = run(Trainer(head(), train, validation, config))
    losses = [epoch.validation_loss for epoch in stopped.history]
    assert stopped.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == stopped.best_epoch + 4 < 40
    until_best = replace(config, epochs=stopped.best_epoch, patience=None)
    assert_equal_weights(stopped, run(Trainer(head(), train, validation, until_best)))


def test_a_fixed_number_of_epochs_needs_no_validation():
    config = replace(BAGS, epochs=3, patience=None)
    trainer = run(Trainer(head(), embedding_takes(0).bags(6), None, config))
    assert trainer.best_epoch == len(trainer.history) == 3
    assert trainer.history[-1].validation_loss is None


@TRAINERS
def test_an_epoch_may_be_a_number_of_steps(make):
    """Whole passes, one after the other, until there are enough; resumed in the middle too."""
    config = replace(PATCHES if make is extractor_trainer else BAGS, steps_per_epoch=10, epochs=3)
    undisturbed = run(make(replace(config, patience=None)))
    assert (undisturbed.n_steps, len(undisturbed.history)) == (30, 3)
    stopped = make(replace(config, patience=None))
    stopped.epoch()
    resumed = make(replace(config, patience=None))
    resumed.load_state_dict(stopped.state_dict())
    assert curve(run(resumed)) == curve(undisturbed)
    assert_equal_weights(resumed, undisturbed)


def test_steps_go_through_all_examples_again_and_again():
    """30 takes of one example in batches of 6: in 12 steps each comes two or three times."""
    config = TrainingConfig(batches="unbalanced", batch_size=6, steps_per_epoch=12, patience=None)
    examples = embedding_takes(0).bags(9)
    found = list(Trainer(head(), examples, None, config)._batches(1))
    assert len(found) == 12
    for one_pass in (found[:5], found[5:10]):
        assert sorted(np.concatenate(one_pass)) == [*range(30)]


def test_a_pass_of_one_epoch_is_drawn_as_it_always_was():
    """So as many steps as a pass has are that pass."""
    one_pass = run(head_trainer(replace(BAGS, epochs=1)))
    by_steps = run(head_trainer(replace(BAGS, epochs=1, steps_per_epoch=one_pass.n_steps)))
    assert curve(by_steps) == curve(one_pass)
    assert_equal_weights(by_steps, one_pass)


def test_after_an_epoch_of_steps_batch_norm_knows_its_inputs():
    """Its running mean has left its first value, 0, behind; after the 4 steps of a pass it has not.

    Momentum 0.1 leaves 0.9**n of the first value, 0.66 after 4 steps and 0.005 after 50.
    """
    takes = embedding_takes(0)
    values = takes.values[takes.bags(6).index].reshape(-1, 128)
    errors = []
    for n_steps in (4, 50):
        config = replace(BAGS, epochs=1, patience=None, steps_per_epoch=n_steps)
        found = run(head_trainer(config)).weights()["input_norm.running_mean"].numpy()
        errors.append(np.abs(found - values.mean(0))[:N_CLASSES].max() / values.mean(0).max())
    assert errors[0] > 0.5
    assert errors[1] < 0.1


def test_it_learns():
    for make, config in ((head_trainer, replace(BAGS, mixup=0.2)), (lstm_trainer, BAGS)):
        trainer = run(make(replace(config, epochs=30, patience=None)))
        assert trainer.history[-1].validation_map_at_3 > 0.8
    config = TrainingConfig(epochs=30, patience=None, batches="balanced", learning_rate=1e-2)
    trainer = run(extractor_trainer(config))
    assert trainer.history[-1].train_loss < 0.7 * trainer.history[0].train_loss


class Threads:
    """Sums over workers that are threads of this process."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._barrier = threading.Barrier(size, timeout=60)
        self._parts: list[torch.Tensor] = []

    def add_up(self, tensor: torch.Tensor) -> None:
        self._parts.append(tensor.clone())
        self._barrier.wait()
        tensor.copy_(torch.stack(self._parts).sum(0))
        if self._barrier.wait() == 0:
            self._parts.clear()
        self._barrier.wait()


def run_together(workers: list[Trainer]) -> None:
    threads = [threading.Thread(target=run, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("batches", ["balanced", "unbalanced"])
def test_two_workers_train_as_one(batches):
    """Float32 sums in another order; nothing else differs, mixup's partners included."""
    config = replace(PATCHES, patience=None, batches=batches, batch_size=4)
    alone = run(extractor_trainer(config))
    together = Threads(2)
    workers = [extractor_trainer(config, Group(rank, 2, together.add_up)) for rank in range(2)]
    run_together(workers)
    assert curve(workers[0]) == curve(workers[1])
    np.testing.assert_allclose(curve(workers[0]), curve(alone), rtol=1e-4)
    for name, tensor in alone.weights().items():
        torch.testing.assert_close(workers[0].weights()[name], tensor, rtol=1e-2, atol=1e-4)


def test_shares_too_small_for_batch_norm_are_refused():
    takes, config = patch_takes(0), TrainingConfig(patience=None, batches="balanced")
    for n_workers in (1, 2):  # the network alone takes any share
        Trainer(classifier(takes), takes.single(), None, config, Group(0, n_workers))
    network = NormalisedClassifier(classifier(takes))
    with pytest.raises(CommandError, match="fewer workers"):
        Trainer(network, takes.single(), None, config, Group(0, 3))


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_two_workers_keep_one_network_where_there_is_batch_norm(average):
    """Each normalises by its own share; what they keep is one network, and it has learnt."""
    config = TrainingConfig(
        epochs=15,
        patience=None,
        batches="unbalanced",
        batch_size=12,
        learning_rate=1e-2,
        average=average,
    )
    together = Threads(2)

    def trainer(group: Group) -> Trainer:
        train, validation = patch_takes(0, 36), patch_takes(1, 36)
        network = NormalisedClassifier(classifier(train, VGGishConfig((4, 4, 8, 8), 16)))
        return Trainer(network, train.single(), validation.single(), config, group)

    workers = [trainer(Group(rank, 2, together.add_up)) for rank in range(2)]
    run_together(workers)
    assert_equal_weights(*workers)
    alone = run(trainer(ALONE))
    assert alone.history[-1].validation_map_at_3 > 0.9
    assert workers[0].history[-1].validation_map_at_3 > 0.9


def test_a_head_trained_by_two_workers_is_within_the_spread_over_seeds():
    """Dropout and batch norm work on shares, so the losses are not those of one worker."""

    def trainer(seed: int, group: Group) -> Trainer:
        config = replace(BAGS, epochs=8, patience=None, batch_size=12, seed=seed)
        train, validation = embedding_takes(0, 60, 1.0), embedding_takes(1, 60, 1.0)
        return Trainer(head(seed), train.bags(6), validation.bags(6), config, group)

    alone = [run(trainer(seed, ALONE)).history[-1].validation_loss for seed in range(5)]
    for seed in range(2):
        together = Threads(2)
        workers = [trainer(seed, Group(rank, 2, together.add_up)) for rank in range(2)]
        run_together(workers)
        assert_equal_weights(*workers)
        found = workers[0].history[-1].validation_loss
        assert abs(found - np.mean(alone)) < 3 * np.std(alone, ddof=1)


def test_no_epochs_keep_the_network_as_it_was():
    trainer = extractor_trainer(replace(PATCHES, epochs=0))
    assert trainer.finished
    assert trainer.best_epoch == 0
    before = classifier(patch_takes(0)).state_dict()
    for name, tensor in trainer.weights().items():
        assert torch.equal(tensor, before[name])


def test_validation_is_the_mean_over_a_clip_s_examples():
    class Fixed(nn.Module):
        """Logits are the first values of an example."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :3] + 0 * self.unused

    values = np.array([[5, 0, 0], [0, 3, 0], [0, 0, 0.5], [0, 1, 0]], np.float32)
    takes = Takes(values, np.array([0, 2, 4]), np.array([0, 2]), 3)
    config = TrainingConfig(epochs=1, patience=1, learning_rate=0.0)
    metrics = Trainer(Fixed(), takes.single(), takes.single(), config).epoch()
    # Clip 0: the first class leads; clip 1: class 1 leads, the true class 2 is second.
    assert metrics.validation_map_at_3 == pytest.approx(0.75)
    probabilities = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    loss = -np.log(probabilities[range(4), [0, 0, 2, 2]]).mean()
    assert metrics.validation_loss == pytest.approx(loss, rel=1e-6)


def test_a_loss_that_runs_away_is_told():
    with pytest.raises(FloatingPointError, match="learning rate"):
        run(head_trainer(replace(BAGS, learning_rate=1e30)))


def test_a_validation_loss_that_runs_away_is_told_by_all_workers():
    """The last step of an epoch may ruin the weights after the last loss that is summed."""
    together = Threads(2)
    told: list[str] = []

    def train(rank: int) -> None:
        train, validation = embedding_takes(0).bags(6), embedding_takes(1, 1).bags(6)
        config = replace(BAGS, batch_size=len(train), learning_rate=1e30)
        with pytest.raises(FloatingPointError) as caught:
            Trainer(head(), train, validation, config, Group(rank, 2, together.add_up)).epoch()
        told.append(str(caught.value))

    threads = [threading.Thread(target=train, args=[rank]) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["loss nan in epoch 1: lower the learning rate"] * 2


def test_impossible_combinations_are_refused():
    examples: Examples = embedding_takes(0).whole()
    with pytest.raises(ValueError, match="mixed"):
        Trainer(LSTMHead(3), examples, None, replace(BAGS, patience=None, mixup=0.2))
    with pytest.raises(ValueError, match="validation"):
        Trainer(LSTMHead(3), examples, None, BAGS)


def test_bfloat16_stays_near_float32():
    config = replace(PATCHES, epochs=2, patience=None, mixup=0.0)
    exact, rough = (
        run(extractor_trainer(config)),
        run(extractor_trainer(replace(config, bfloat16=True))),
    )
    np.testing.assert_allclose(curve(rough), curve(exact), rtol=0.1)
    assert all(tensor.dtype == torch.float32 for tensor in rough.weights().values())
