"""What one worker of a training run does; knows torch.distributed, and no Ray.

The workers train every network *together*, each on its share of every batch, or each worker trains
some of the networks alone. Between epochs, and not before ``checkpoint_s`` have passed, all workers
save the states of the networks at hand at the same moment. A network that is finished is written to
the work folder at once: that is the truth about what is done, and a repeated run leaves it out.

Workers that train together sum their gradients in ``tagger.optimisation``. torch's
DistributedDataParallel could take over that sum, and nothing else. It takes the mean over workers,
and shares of a batch of whole clips differ in size, so losses would have to be scaled. It copies
the first worker's running statistics of batch normalisation to the others, where their mean is
wanted. And it regroups its buffers after its first step, which changes the order of sums among
three or more workers, so that a run that goes on would not be exactly one that never stopped.
"""

import hashlib
import pickle
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from pipelines.storage.store import Store
from pipelines.training.workfolder.networks import read_record, write_network
from pipelines.training.workfolder.patches import open_prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.errors import CommandError
from tagger.training import EpochMetrics, Group, Trainer

REFUSAL: Final = "refusal.txt"  # why a network cannot be trained as asked

States = dict[str, dict[str, Any]]
"""What ``Trainer.state_dict`` gives, by ``state_file`` of the network."""

Tell = Callable[[str, int, EpochMetrics], None]
"""Called after each epoch with the network's folder, its epochs at most, and what came of it."""


class Task(Protocol):
    """A network to train; picklable."""

    @property
    def folder(self) -> str:
        """Where in the work folder the result goes."""

    @property
    def epochs(self) -> int:
        """At most so many."""

    @property
    def copies(self) -> int:
        """Copies of each training clip that it needs, at most."""

    def spec(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON."""

    def was(self, spec: Mapping[str, Any]) -> bool:
        """Whether ``spec`` is this one's; what an earlier version did not know has its default."""

    def trainer(self, reads: SharedReads, group: Group, device: str) -> Trainer:
        """A trainer at its start.

        Raises
        ------
        CommandError : the network cannot be trained as asked
        """

    def result(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """What to keep of the trainer's weights."""


@dataclass(frozen=True)
class Work:
    """What is the same for all workers.

    Attributes
    ----------
    together : all workers train every network together; otherwise each trains some of them
    checkpoint_s : least time between two checkpoints
    """

    tasks: Sequence[Task]
    store: Store
    together: bool
    checkpoint_s: float


@dataclass(frozen=True)
class Place:
    """One worker's place among all of them."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    def any(self, mine: bool) -> bool:
        """Whether any worker says yes. All get the same answer, and have got here."""
        if self.size == 1:
            return mine
        answer = torch.tensor(int(mine), device=self.device)
        torch.distributed.all_reduce(answer, torch.distributed.ReduceOp.MAX)
        return bool(answer.item())

    def group(self, together: bool) -> Group:
        """The workers that train a network: all of them, or this one alone."""
        if not together or self.size == 1:
            return Group()
        return Group(self.rank, self.size, torch.distributed.all_reduce)


class Checkpoints(Protocol):
    """Where states outlive the workers."""

    def restore(self) -> States:
        """The states of all workers, as they were last saved together."""

    def save(self, states: States) -> None:
        """Save this worker's states; all workers call it at the same moment."""


def is_done(task: Task, store: Store) -> bool:
    """Whether the network is finished.

    Raises
    ------
    CommandError : another network has its name
    """
    record = read_record(store, task.folder)
    if record is None:
        return False
    if not task.was(record["spec"]):
        raise CommandError(
            f"{store.root}/{task.folder} was trained with other settings; give another name"
        )
    return True


def train_all(work: Work, place: Place, checkpoints: Checkpoints, tell: Tell) -> None:
    """Train the networks that fall to this worker until those of all workers are finished."""
    tasks = [task for task in work.tasks if not is_done(task, work.store)]
    place.any(False)  # every worker has looked before one of them finishes something
    mine = tasks if work.together else tasks[place.rank :: place.size]
    worker = _Worker(work, place, mine, checkpoints.restore(), tell)
    while place.any(worker.busy):
        worker.train_for(work.checkpoint_s)
        checkpoints.save(worker.states())


class _Worker:
    """One worker, its networks that are not finished, and the one that it is at."""

    def __init__(
        self, work: Work, place: Place, tasks: Sequence[Task], restored: States, tell: Tell
    ) -> None:
        self._work, self._place, self._tell = work, place, tell
        self._writes = place.rank == 0 or not work.together
        self._queue = deque(tasks)
        files = {state_file(task) for task in tasks}
        self._restored = {file: state for file, state in restored.items() if file in files}
        self._trainer: Trainer | None = None
        self._reads: SharedReads | None = None

    @property
    def busy(self) -> bool:
        return bool(self._queue)

    def train_for(self, seconds: float) -> None:
        """Train until all networks are finished, or so much time has passed."""
        start = time.monotonic()
        while self._queue:
            if self._train(self._queue[0]):
                self._queue.popleft()
            late = time.monotonic() - start > seconds
            if self._place.any(late) if self._work.together else late:
                return

    def states(self) -> States:
        """For a checkpoint: of the network at hand, and those restored but not taken up yet."""
        if not self._writes:
            return {}
        states = dict(self._restored)
        if self._trainer is not None:
            states[state_file(self._queue[0])] = self._trainer.state_dict()
        return states

    def _train(self, task: Task) -> bool:
        """Train for one epoch; return whether nothing is left to do.

        A network that cannot be trained as asked counts as finished, and why is written down.
        Workers that train together all find that out at the same place.
        """
        try:
            finished = self._epoch(task)
        except (CommandError, FloatingPointError) as error:
            self._work.store.write(f"{task.folder}/{REFUSAL}", str(error).encode())
            finished = True
        if finished:
            self._trainer = None
        return finished

    def _epoch(self, task: Task) -> bool:
        if self._trainer is None:
            group = self._place.group(self._work.together)
            self._trainer = task.trainer(self._shared_reads(), group, self._place.device)
            if state := self._restored.pop(state_file(task), None):
                self._trainer.load_state_dict(state)
        if not self._trainer.finished:
            self._tell(task.folder, task.epochs, self._trainer.epoch())
        if not self._trainer.finished:
            return False
        if self._writes:
            save_result(self._work.store, task, self._trainer)
        return True

    def _shared_reads(self) -> SharedReads:
        if self._reads is None:
            self._reads = _reads(self._work.store, self._queue)
        return self._reads


def _reads(store: Store, tasks: Iterable[Task]) -> SharedReads:
    """What any of the networks reads."""
    prepared = open_prepared(store)
    copies = max(task.copies for task in tasks)
    return SharedReads(prepared, prepared.dataset.development(), copies)


def write_untrained(tasks: Sequence[Task], store: Store) -> None:
    """Write networks of no epochs as they start.

    Raises
    ------
    CommandError : one that cannot be had as asked
    """
    reads = _reads(store, tasks)
    for task in tasks:
        save_result(store, task, task.trainer(reads, Group(), "cpu"))


def save_result(store: Store, task: Task, trainer: Trainer) -> None:
    """Write a network to the work folder."""
    history = trainer.history
    seconds = sum(epoch.seconds for epoch in history)
    n_examples = sum(epoch.n_examples for epoch in history)
    course = {
        "history": [asdict(epoch) for epoch in history],
        "best_epoch": trainer.best_epoch,
        "n_steps": trainer.n_steps,
        "seconds": round(seconds, 2),
        "examples_per_s": round(n_examples / max(seconds, 0.01), 1),
    }
    write_network(store, task.folder, task.spec(), task.result(trainer.weights()), course)


def state_file(task: Task) -> str:
    """Name a network's file in a checkpoint."""
    return hashlib.sha256(task.folder.encode()).hexdigest()[:16] + ".pt"


def write_states(states: States, folder: Path) -> None:
    """Write states to a folder, each to a file of its own."""
    for file, state in states.items():
        torch.save(state, folder / file)


def read_states(folder: Path) -> States:
    """Read the states that a folder holds; nothing but tensors and plain values is unpickled.

    Raises
    ------
    CommandError : a file that holds anything else, or is damaged
    """
    try:
        return {
            path.name: torch.load(path, weights_only=True, map_location="cpu")
            for path in folder.glob("*.pt")
        }
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise CommandError(
            "the checkpoint in the folder _train of the work folder is not as it was written: "
            "remove that folder; networks that are finished are kept"
        ) from error
