"""Workers of a training run as plain processes: torch's gloo, and no Ray."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipelines.training.train_worker import (
    Place,
    States,
    Work,
    read_states,
    train_all,
    write_states,
)


@dataclass(frozen=True)
class FolderCheckpoints:
    """Checkpoints in a folder, which hold what each worker saved last."""

    folder: Path
    rank: int = 0

    def restore(self) -> States:
        found: States = {}
        for mine in self.folder.glob("*"):
            found |= read_states(mine)
        return found

    def save(self, states: States) -> None:
        mine = self.folder / str(self.rank)
        mine.mkdir(parents=True, exist_ok=True)
        for old in mine.iterdir():
            old.unlink()
        write_states(states, mine)


def train_on_gloo(works: Sequence[Work], n_workers: int, folder: Path) -> None:
    """Train one work after the other with some workers, each a process that uses one thread."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_worker, args=(works, rank, n_workers, folder))
        for rank in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * n_workers


def _worker(works: Sequence[Work], rank: int, n_workers: int, folder: Path) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=n_workers)
    for number, work in enumerate(works):
        told: list[str] = []

        def tell(network: str, epochs: int, metrics: object, told: list[str] = told) -> None:
            told.append(network)

        train_all(work, Place(rank, n_workers), FolderCheckpoints(folder / str(number), rank), tell)
        (folder / f"told-{number}-{rank}").write_text("\n".join(told))
    torch.distributed.destroy_process_group()
