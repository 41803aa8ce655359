"""Many networks in one Ray Train run (design 7).

A run of Ray Train costs some 15 s of its own, so it is given a list of tasks, each a network to
train. Its workers train every network *together*, each on its share of every batch, or each worker
trains some of the networks alone.

A network that is finished is written to the work folder at once: that is the truth about what is
done, and a repeated run leaves it out. The networks being trained are in Ray's checkpoint, one file
per task, so that killed workers and killed jobs continue from there with any number of workers.
"""

import hashlib
import json
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from pipelines.runtime.cluster import Workers, connect
from pipelines.runtime.limits import Resources, TrainResources
from pipelines.runtime.progress import Progress
from pipelines.runtime.ray_errors import plain_errors
from pipelines.storage.store import Store
from tagger.errors import CommandError
from tagger.training import EpochMetrics, Group, Trainer

MAX_FAILURES: Final = 3  # lost workers, after which a run ends; the next one continues
RECORD: Final = "record.json"
WEIGHTS: Final = "network.safetensors"
MISTAKE: Final = "mistake.txt"  # why a network cannot be trained as asked


class Task(Protocol):
    """A network to train; picklable."""

    @property
    def folder(self) -> str:
        """Where in the work folder the result goes."""

    @property
    def epochs(self) -> int:
        """At most so many."""

    def spec(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON."""

    def trainer(self, store: Store, group: Group, device: str) -> Trainer:
        """A trainer at its start."""

    def result(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """What to keep of the trainer's weights."""


def train(tasks: Sequence[Task], store: Store, resources: TrainResources) -> dict[str, Any]:
    """Train what is not trained yet; the result of each task is its record.

    Raises
    ------
    CommandError : a network of a task's name exists with other settings, or cannot be trained so;
        what can be trained is
    """
    if not all([_is_done(task, store) for task in tasks]):
        _check(resources, connect(Resources()))
        _fit(tasks, store, resources)
    return {task.folder: json.loads(store.read(f"{task.folder}/{RECORD}")) for task in tasks}


def _check(resources: TrainResources, offered: Workers) -> None:
    """Ray Train waits in silence for CPUs and GPUs that a cluster of fixed size has not got."""
    if "RAY_ADDRESS" in os.environ:  # that cluster may grow
        return
    n_cpus = resources.workers * resources.cpus_per_worker
    if n_cpus > offered.n_cpus or resources.use_gpus * resources.workers > offered.n_gpus:
        raise CommandError(
            f"--workers {resources.workers} need {n_cpus} CPUs"
            f"{' and a GPU each' if resources.use_gpus else ''}; this machine offers "
            f"{offered.n_cpus} CPUs and {offered.n_gpus} GPUs"
        )


def _is_done(task: Task, store: Store) -> bool:
    try:
        record = json.loads(store.read(f"{task.folder}/{RECORD}"))
    except FileNotFoundError:
        return False
    if record["spec"] != task.spec():
        raise CommandError(
            f"{store.root}/{task.folder} was trained with other settings; give another name"
        )
    return True


def _fit(tasks: Sequence[Task], store: Store, resources: TrainResources) -> None:
    """Run Ray Train over all tasks; those that are done give the run its name, and no work.

    So a job that was killed after some networks goes on in the same run, from its checkpoint.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    messages = Queue(actor_options={"num_cpus": 0})
    specs = json.dumps([[task.folder, task.spec()] for task in tasks], sort_keys=True)
    name = hashlib.sha256(f"{resources.together}{specs}".encode()).hexdigest()[:12]
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={
            "tasks": list(tasks),
            "store": store,
            "together": resources.together,
            "checkpoint_s": resources.checkpoint_s,
            "messages": messages,
        },
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.use_gpus,
            resources_per_worker={"CPU": resources.cpus_per_worker},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=f"{store.root}/_train",
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    n_epochs = sum(task.epochs for task in tasks if not _is_done(task, store))
    with _shown(messages, n_epochs), plain_errors():
        trainer.fit()
    store.remove(store.list(f"_train/{name}"))  # a run of this name would think itself finished
    _tell_mistakes([task.folder for task in tasks if not _is_done(task, store)], store)


def _tell_mistakes(folders: list[str], store: Store) -> None:
    """CommandError where a network could not be trained."""
    told = [f"{folder}: {store.read(f'{folder}/{MISTAKE}').decode()}" for folder in folders]
    store.remove(f"{folder}/{MISTAKE}" for folder in folders)
    if told:
        raise CommandError("; ".join(told))


def train_loop(config: dict[str, Any]) -> None:
    """What each worker does."""
    import ray.train

    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    store, together = config["store"], config["together"]
    tasks = [task for task in config["tasks"] if not _is_done(task, store)]
    _agreed(False)  # all workers have looked before any of them finishes something
    queue = deque(tasks if together else tasks[rank::size])
    group = Group(rank, size, torch.distributed.all_reduce) if together else Group()
    restored = _restored()
    mine = {slug(task): restored[slug(task)] for task in queue if slug(task) in restored}
    worker = _Worker(store, group, mine, config["messages"])
    while _agreed(bool(queue)):
        start = time.monotonic()
        while queue:
            if worker.work(queue[0], writes=rank == 0 or not together):
                queue.popleft()
            late = time.monotonic() - start > config["checkpoint_s"]
            if _agreed(late) if together else late:
                break
        _report(worker, writes=rank == 0 or not together)


class _Worker:
    """One worker's current task."""

    def __init__(
        self, store: Store, group: Group, states: dict[str, dict[str, Any]], messages: Any
    ) -> None:
        from ray.train.torch import get_device

        self._store, self._group, self._messages = store, group, messages
        self._states = states
        self._device = str(get_device())
        self._task: Task | None = None
        self._trainer: Trainer | None = None

    def work(self, task: Task, writes: bool) -> bool:
        """Train for one epoch; whether the task is finished, and its result written.

        So is one that cannot be trained as asked, however often: why is written instead. Workers
        that train together all find that at the same place.
        """
        try:
            return self._epoch(task, writes)
        except (CommandError, FloatingPointError) as mistake:
            self._store.write(f"{task.folder}/{MISTAKE}", str(mistake).encode())
            self._task = self._trainer = None
            return True

    def _epoch(self, task: Task, writes: bool) -> bool:
        if self._trainer is None:
            self._task, self._trainer = task, task.trainer(self._store, self._group, self._device)
            if state := self._states.pop(slug(task), None):
                self._trainer.load_state_dict(state)
        if not self._trainer.finished:
            metrics = self._trainer.epoch()
            self._messages.put((task.folder, task.epochs, asdict(metrics)))
        if not self._trainer.finished:
            return False
        if writes:
            save_result(self._store, task, self._trainer)
        self._task = self._trainer = None
        return True

    def state(self) -> dict[str, dict[str, Any]]:
        """Of the task at hand, and of those from the last checkpoint not taken up yet."""
        states = dict(self._states)
        if self._task and self._trainer:
            states[slug(self._task)] = self._trainer.state_dict()
        return states


def save_result(store: Store, task: Task, trainer: Trainer) -> None:
    """Write the weights and then the record, which says that the task is done."""
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in task.result(trainer.weights()).items()}
    history = [asdict(metrics) for metrics in trainer.history]
    seconds = sum(metrics.seconds for metrics in trainer.history)
    data = save(weights)
    record = {
        "spec": task.spec(),
        "weights": hashlib.sha256(data).hexdigest(),
        "history": history,
        "best_epoch": trainer.best_epoch,
        "seconds": round(seconds, 2),
        "examples_per_s": round(sum(m.n_examples for m in trainer.history) / max(seconds, 0.01), 1),
    }
    store.write(f"{task.folder}/{WEIGHTS}", data)
    store.write(f"{task.folder}/{RECORD}", json.dumps(record, indent=2).encode())


def slug(task: Task) -> str:
    """Name a task's file in a checkpoint."""
    return hashlib.sha256(task.folder.encode()).hexdigest()[:16] + ".pt"


def _agreed(mine: bool) -> bool:
    """Whether any worker says yes; all get the same answer, and have got here."""
    from ray.train.torch import get_device

    answer = torch.tensor(int(mine), device=get_device())
    torch.distributed.all_reduce(answer, torch.distributed.ReduceOp.MAX)
    return bool(answer.item())


def _restored() -> dict[str, dict[str, Any]]:
    """The states in the last checkpoint, by ``slug``."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return {}
    with checkpoint.as_directory() as folder:
        return {
            path.name: torch.load(path, weights_only=True, map_location="cpu")
            for path in Path(folder).glob("*.pt")
        }


def _report(worker: _Worker, writes: bool) -> None:
    """A checkpoint of all workers together: each adds its own files."""
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        if writes:
            for name, state in worker.state().items():
                torch.save(state, Path(folder, name))
        ray.train.report({}, checkpoint=ray.train.Checkpoint.from_directory(folder))


@contextmanager
def _shown(messages: Any, n_epochs: int) -> Iterator[None]:
    """Tell on standard error how many epochs are done, and what the last one came to."""
    from ray.util.queue import Empty

    done = threading.Event()

    def show(progress: Progress) -> None:
        n = 0
        while not done.is_set():
            try:
                folder, epochs, metrics = messages.get(timeout=1)
            except Empty:
                continue
            n += 1
            progress.show(n, _line(folder, epochs, EpochMetrics(**metrics)))

    with Progress("training", "epochs", n_epochs) as progress:
        thread = threading.Thread(target=show, args=(progress,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            messages.shutdown()


def _line(folder: str, epochs: int, metrics: EpochMetrics) -> str:
    line = f"{folder}: epoch {metrics.epoch} of {epochs}, loss {metrics.train_loss:.3f}"
    if metrics.validation_loss is not None:
        line += f", validation {metrics.validation_loss:.3f}"
        line += f" MAP@3 {metrics.validation_map_at_3:.3f}"
    return f"{line}, {metrics.n_examples / metrics.seconds:.0f} examples/s"
