"""Many networks in one run of Ray Train: what the driver does, and where workers meet Ray.

A run of Ray Train costs some 15 s of its own, so it is given a list of tasks, each a network to
train; ``train_worker`` says what its workers do with them. The networks being trained are in Ray's
checkpoint, one file per task, so that killed workers and killed jobs continue from there with any
number of workers.
"""

import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pipelines.runtime.cluster import Workers, connect
from pipelines.runtime.limits import Resources, TrainResources
from pipelines.runtime.progress import Progress
from pipelines.runtime.ray_errors import plain_errors
from pipelines.storage.store import Store
from pipelines.training.train_worker import (
    REFUSAL,
    Place,
    States,
    Task,
    Work,
    is_done,
    read_states,
    train_all,
    write_states,
    write_untrained,
)
from pipelines.training.workfolder.networks import read_record
from tagger.errors import CommandError, OptionError
from tagger.training import EpochMetrics

SNAPSHOT: Final = "checkpoint_manager_snapshot.json"
MAX_FAILURES: Final = 3  # lost workers, after which a run ends; the next one continues


def train(tasks: Sequence[Task], store: Store, resources: TrainResources) -> dict[str, Any]:
    """Train what is not trained yet; the result is the record of each network, by its folder.

    Raises
    ------
    CommandError : a network of a task's name exists with other settings, or cannot be trained so;
        what can be trained is
    """
    pending = [task for task in tasks if not is_done(task, store)]  # before anything starts
    if pending and not any(task.epochs for task in pending):
        write_untrained(pending, store)
    elif pending:
        _check(resources, connect(Resources(gpus=None if resources.use_gpus else 0)))
        _fit(tasks, store, resources)
    return {task.folder: read_record(store, task.folder) for task in tasks}


def _check(resources: TrainResources, offered: Workers) -> None:
    """Ray Train waits in silence for CPUs and GPUs that a cluster of fixed size has not got."""
    if "RAY_ADDRESS" in os.environ:  # that cluster may grow
        return
    n_cpus = resources.workers * resources.cpus_per_worker
    if n_cpus > offered.n_cpus or resources.use_gpus * resources.workers > offered.n_gpus:
        raise OptionError(
            "workers",
            f"must be fewer: {resources.workers} of them need {n_cpus} CPUs"
            f"{' and a GPU each' if resources.use_gpus else ''}, and this machine offers "
            f"{offered.n_cpus} CPUs and {offered.n_gpus} GPUs",
        )


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
    check_snapshot(store, name)
    work = Work(tuple(tasks), store, resources.together, resources.checkpoint_s)
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"work": work, "messages": messages},
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
    n_epochs = sum(task.epochs for task in tasks if not is_done(task, store))
    with _shown(messages, n_epochs), plain_errors():
        trainer.fit()
    store.remove(store.list(f"_train/{name}"))  # a run of this name would think itself finished
    _tell_refusals([task.folder for task in tasks if not is_done(task, store)], store)


def check_snapshot(store: Store, name: str) -> None:
    """Refuse what Ray Train would read of an earlier run, where a stranger may have written it.

    It is JSON, which runs nothing. But Ray Train reads the folders that it names, and removes them
    later, wherever they lie.

    Raises
    ------
    CommandError : it names other folders than checkpoints of this run, or cannot be read
    """
    path = f"_train/{name}/{SNAPSHOT}"
    names: list[str] = []

    def collect(found: dict[str, Any]) -> None:
        names.extend(value for key, value in found.items() if key == "checkpoint_dir_name")

    try:
        json.loads(store.read(path), object_hook=collect)
    except FileNotFoundError:
        return
    except ValueError:
        names.append("")
    if not all(re.fullmatch(r"checkpoint_[\w.-]+", str(name)) for name in names):
        raise CommandError(
            f"{store.root}/{path} is not as Ray Train writes it: remove the folder _train/{name} "
            "there; networks that are finished are kept"
        )


def _tell_refusals(folders: list[str], store: Store) -> None:
    """CommandError where a network could not be trained."""
    refusals = [f"{folder}: {store.read(f'{folder}/{REFUSAL}').decode()}" for folder in folders]
    store.remove(f"{folder}/{REFUSAL}" for folder in folders)
    if refusals:
        raise CommandError("; ".join(refusals))


def train_loop(config: dict[str, Any]) -> None:
    """What Ray Train runs in each worker."""
    import ray.train
    from ray.train.torch import get_device

    context = ray.train.get_context()
    place = Place(context.get_world_rank(), context.get_world_size(), str(get_device()))

    def tell(folder: str, epochs: int, metrics: EpochMetrics) -> None:
        # As a dict, since the queue's actor would have to import torch for the class.
        config["messages"].put((folder, epochs, asdict(metrics)))

    train_all(config["work"], place, RayCheckpoints(), tell)


class RayCheckpoints:
    """Ray Train's checkpoints: one for all workers, to which each adds files of its own."""

    def restore(self) -> States:
        """See ``train_worker.Checkpoints``."""
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return {}
        with checkpoint.as_directory() as folder:
            return read_states(Path(folder))

    def save(self, states: States) -> None:
        """See ``train_worker.Checkpoints``."""
        import ray.train

        with tempfile.TemporaryDirectory() as folder:
            write_states(states, Path(folder))
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
    if metrics.validation_map_at_3 is not None:
        line += f" MAP@3 {metrics.validation_map_at_3:.3f}"
    return f"{line}, {metrics.n_examples / metrics.seconds:.0f} examples/s"
