"""``finetune`` beside a plain loop of torch, and ``prepare`` beside the sum of its stages.

    python -m benchmarks.training [--audio FOLDER] [--batch N] [--rounds N] [--write]

The plain loop is what is published as such: a DataLoader, Adam, cross entropy, the layers in the
order of Table 1. Ours is the ``Trainer`` that ``finetune`` runs, on the same patches, batches and
first weights, on one core. The ways take an epoch each in turn, in CPU time; the fastest counts.
"of loading" is the share of our time in which batches are drawn and their patches gathered.

``prepare`` decodes clips and makes patches of each and of a pitch-shifted copy. Its time is the CPU
time of all its processes, less that of a second run, which finds everything done; that of its
stages is taken without it, clip by clip.
"""

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.embedding import WIDTHS
from benchmarks.gpu import clips
from benchmarks.reporting import show, write
from pipelines.training.clip_takes import decode_takes, takes_of
from pipelines.training.jobs import PrepareJob
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.examples import Examples, Takes, batches
from tagger.feed import Feed
from tagger.training import Trainer
from tagger.vggish import VGGish, VGGishClassifier, initialise

N_CLASSES: Final = 10
LEARNING_RATE: Final = 1e-5
SMALL: Final = {"small": VGGishConfig((4, 4, 8, 8), 16)}

Epoch = Callable[[], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, show, and keep the figures on request."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.training")
    flags.add_argument("--audio", type=Path, help="folder of clips to prepare (default: made here)")
    flags.add_argument("--clips", type=int, default=100, help="to prepare")
    flags.add_argument("--batch", type=int, default=64)
    flags.add_argument("--steps", type=int, default=2, help="of an epoch")
    flags.add_argument("--rounds", type=int, default=2)
    flags.add_argument("--small", action="store_true", help="a small network, to try it out")
    flags.add_argument("--write", action="store_true", help="keep the figures in results/")
    given = flags.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for widths, config in (SMALL if given.small else WIDTHS).items():
        found = fine_tuning(config, given.batch, given.steps, given.rounds)
        rows += [{"what": "finetune", "widths": widths, **row} for row in found]
    with tempfile.TemporaryDirectory() as folder:
        rows += preparing(given.audio, given.clips, Path(folder))
    show("training, one core", rows)
    if given.write:
        write("training", rows)


def fine_tuning(
    config: VGGishConfig, batch: int, n_steps: int, n_rounds: int
) -> Iterator[dict[str, Any]]:
    """A row for each of precision and way."""
    examples = some_patches(batch * n_steps)
    for bfloat16 in (False, True):
        training = TrainingConfig(
            epochs=n_rounds + 1,
            patience=None,
            batch_size=batch,
            learning_rate=LEARNING_RATE,
            bfloat16=bfloat16,
        )
        ways = {
            "plain loop of torch": plain_loop(first_network(config), examples, training),
            "ours": Trainer(first_network(config), examples, None, training).epoch,
        }
        loading_s: list[float] = []
        times: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(n_rounds + 1):
            for name, way in ways.items():
                times[name].append(cpu_s(way))
            loading_s.append(cpu_s(partial(load, examples, training, number)))
        best = {name: min(of_way[1:]) for name, of_way in times.items()}
        for name, seconds in best.items():
            yield {
                "precision": "bfloat16" if bfloat16 else "float32",
                "way": name,
                "batch": batch,
                "patches/s": len(examples) / seconds,
                "times plain": best["plain loop of torch"] / seconds,
                **({"of loading": min(loading_s) / seconds} if name == "ours" else {}),
            }


def some_patches(n: int) -> Examples:
    """As ``finetune`` reads them from shards, in float16; each an example."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((n, 96, 64)).astype(np.float16)
    return Takes(values, np.arange(n + 1), rng.integers(0, N_CLASSES, n), N_CLASSES).single()


def first_network(config: VGGishConfig) -> VGGishClassifier:
    torch.manual_seed(0)
    network = VGGishClassifier(VGGish(config), N_CLASSES)
    initialise(network)
    return network


def plain_loop(network: VGGishClassifier, examples: Examples, config: TrainingConfig) -> Epoch:
    """An epoch of it. Evaluation mode changes nothing but the order of pooling and ReLU."""
    network.eval()
    values = torch.from_numpy(examples.inputs(np.arange(len(examples))))
    data = TensorDataset(values, torch.from_numpy(examples.labels))
    loader = DataLoader(data, config.batch_size, shuffle=True)
    adam = torch.optim.Adam(network.parameters(), config.learning_rate)

    def epoch() -> None:
        for patches, labels in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=config.bfloat16):
                logits = network(patches)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()

    return epoch


def load(examples: Examples, config: TrainingConfig, epoch: int) -> None:
    """What an epoch of the trainer does beside learning: draw batches, gather their patches."""
    rng = np.random.default_rng(epoch)
    feed = Feed(examples, config.mixup, False, torch.device("cpu"))
    for batch in batches(examples, config.batches, config.batch_size, rng):
        feed.step(batch, np.arange(len(batch)), rng)


def cpu_s(work: Epoch) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def preparing(audio: Path | None, n_clips: int, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for ``prepare``, and one for the sum of its stages."""
    paths = clips(audio, n_clips, folder)
    labels = folder / "clips.csv"
    with labels.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["uri", "label", "fold"])
        for i, path in enumerate(paths):
            rows.writerow([path.resolve(), f"class {i % 2}", 1 + i // 2 % 2])
    job = PrepareJob(data=str(labels), work=str(folder / "work"), copies=1)
    with threadpool_limits(1):  # as jobs do: a second thread of numpy's would spin
        stages(paths[:1], job)  # loads what is needed at first use
        stages_s = cpu_s(partial(stages, paths, job))
    command = [sys.executable, "-m", "pipelines", "prepare", job.data]
    command += ["--work", job.work, "--copies", str(job.copies)]
    start_s, ends_s = children_s(), []
    for _ in range(2):
        subprocess.run(command, check=True, capture_output=True)
        ends_s.append(children_s())
    whole_s = 2 * ends_s[0] - start_s - ends_s[1]
    for what, seconds in (("prepare", whole_s), ("prepare, sum of stages", stages_s)):
        yield {
            "what": what,
            "clips": len(paths),
            "clips/s": len(paths) / seconds,
            "of stages": stages_s / seconds,
        }


def stages(paths: Sequence[Path], job: PrepareJob) -> None:
    """Decode, shift and transform each clip, in this process."""
    for path in paths:
        with path.open("rb") as source:
            for patches in decode_takes(source, takes_of(path.name, job.copies, job), 1.0):
                patches.astype(np.float16).tobytes()


def children_s() -> float:
    """CPU time of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
