"""What many clips and long recordings cost: does anything grow that should not?

    python -m benchmarks.growth [--listed N] [--clips N] [--hours H] [--write]

- ``schedule``: N listed clips to the first batch that a worker has done, Ray started and the
  listing itself apart (its rows are made up, and name files that are not there).
- ``clips``: one job over N clips of 0.3 to 1.3 s, and its rate in the first and the last third.
- ``hours``: one job over a recording of H hours.

MiB is the largest resident set of any one process of the job, what it shares with others apart;
driver MiB all of the driver's.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.reporting import show, write
from pipelines.tagging.job import TagJob

RATE_HZ = 44_100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listed", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        if flags.listed:
            rows.append(apart(schedule, flags.listed, top / "schedule"))
        if flags.clips:
            make_clips(top / "clips", flags.clips)
            rows.append(thirds(job(top / "clips", top / "of-clips"), top / "of-clips"))
        if flags.hours:
            make_recording(top / "long", flags.hours)
            rows.append({"what": f"{flags.hours:g} hours"} | job(top / "long", top / "of-long"))
    for row in rows:
        show("growth", [row])
    if flags.write:
        write("growth", rows)


def apart(measure: Any, *arguments: Any) -> Any:
    """The result of ``measure`` in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def schedule(n: int, out: Path) -> dict[str, Any]:
    """Seconds from found objects to the first batch that is done."""
    from pipelines.inputs import listing
    from pipelines.output.commit_log import CommitLog
    from pipelines.output.settings import Settings, open_output
    from pipelines.runtime import cluster
    from pipelines.runtime.limits import Limits, Resources
    from pipelines.storage.store import open_store
    from pipelines.tagging.batches import divide
    from pipelines.tagging.plan import Plan
    from pipelines.tagging.selection import pending
    from pipelines.tagging.staged_rows import RowSettings
    from tagger.card import read_model

    def found(text: str, skipped: object) -> Iterator[tuple[str, str, int, None]]:
        return ((f"file:///nowhere/{i:07d}.flac", f"{i}-1", 900_000, None) for i in range(n))

    workers = cluster.connect(Resources())
    import ray

    from pipelines.tagging import operators  # Ray reads its settings when it is imported

    store, model = open_store(str(out)), read_model()
    open_output(store, Settings(("tags", "failures", "clips"), 3, 0.0, "float32", "benchmark"))
    task = TagJob(inputs=("nowhere",), out=str(out))
    start = time.perf_counter()
    with patch("pipelines.inputs.listing._find", found):
        clips = listing.gather(task.inputs)
    listed = time.perf_counter()
    todo = pending(clips, CommitLog(store, model.card.model_id), task)
    table, bounds = divide(todo.clips, workers.n_cpus)
    divided = time.perf_counter()
    rows = RowSettings.of(task, model.card.model_id, "run")
    plan = Plan(table, bounds, store, rows, Limits(), "float32")
    next(operators.carry_out(plan, model, workers))
    done = time.perf_counter()
    ray.shutdown()
    return {
        "what": f"{n} listed",
        "table s": listed - start,
        "plan s": divided - listed,
        "first batch s": done - divided,
        "batches": len(bounds) - 1,
        "driver MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def make_clips(folder: Path, n: int) -> None:
    """``n`` names of 40 contents."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    originals = [folder.parent / f"{i}.wav" for i in range(40)]
    for path in originals:
        samples = 0.1 * rng.standard_normal(round(rng.uniform(0.3, 1.3) * 16_000))
        soundfile.write(path, samples, 16_000)
    for i in range(n):
        os.link(originals[i % len(originals)], folder / f"{i:06d}.wav")


def make_recording(folder: Path, hours: float) -> None:
    """One recording of noise that comes and goes, stereo, 44.1 kHz, flac."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    minute = 0.1 * rng.standard_normal((60 * RATE_HZ, 2)).astype(np.float32)
    with soundfile.SoundFile(folder / "long.flac", "w", RATE_HZ, 2, "PCM_16") as file:
        for number in range(round(60 * hours)):
            file.write(minute * (0.1 + 0.9 * (number % 3)))


def job(audio: Path, out: Path) -> dict[str, Any]:
    """Run ``tag`` as a user does; its seconds, and the largest process."""
    command = [sys.executable, "-m", "pipelines", "tag", str(audio), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    largest = {"MiB": 0.0}
    watcher = threading.Thread(target=watch, args=(process, largest))
    watcher.start()
    if process.wait():
        raise RuntimeError(f"exit code {process.returncode}")
    seconds = time.perf_counter() - start
    watcher.join()
    return {"job s": seconds} | largest


def watch(process: subprocess.Popen[bytes], largest: dict[str, float]) -> None:
    """Keep the largest resident set seen below a process."""
    while process.poll() is None:
        for child in family(process.pid):
            try:
                size = child.memory_info().rss - child.memory_info().shared
            except psutil.NoSuchProcess:
                continue
            largest["MiB"] = max(largest["MiB"], size / 2**20)
        time.sleep(0.5)


def family(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def thirds(measured: dict[str, Any], out: Path) -> dict[str, Any]:
    """Rates of the first and of the last third, from when each clip was done."""
    files = list((out / "clips").rglob("*.parquet"))
    table = pa.concat_tables([pq.ParquetFile(file).read(["processed_at"]) for file in files])
    at = np.sort(table["processed_at"].cast(pa.int64()).to_numpy()) / 1e6
    first, last = (part[-1] - part[0] for part in np.array_split(at, 3)[::2])
    n = len(at) // 3
    return {
        "what": f"{len(at)} clips",
        **measured,
        "first third ms/clip": 1e3 * first / n,
        "last third ms/clip": 1e3 * last / n,
    }


if __name__ == "__main__":
    main()
