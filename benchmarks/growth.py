"""What many clips and long recordings cost: does anything grow that should not?

    python -m benchmarks.growth [--listed N] [--clips N ...] [--hours H ...] [--write]

- ``schedule``: N listed clips to the first batch that a worker has done, Ray started and the
  listing itself apart (its rows are made up, and name files that are not there).
- ``clips``: a job over N clips of 0.3 to 1.3 s: CPU time a clip and the driver's memory in the
  first and the last third.
- ``hours``: a job over a recording of H hours: CPU time of each stage for an hour of it.

MiB is the largest resident set of any one process of the job, what it shares with others apart;
driver MiB all of the driver's.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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

RATE_HZ = 22_050


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listed", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--hours", type=float, nargs="*", default=[10.0, 24.0])
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        if flags.listed:
            rows.append(apart(schedule, flags.listed, top / "schedule"))
        for n in flags.clips:
            audio, out = top / f"{n}-clips", top / f"of-{n}-clips"
            make_clips(audio, n)
            rows.append(thirds(*job(audio, out), out))
        for hours in flags.hours:
            audio = top / f"{hours:g}-hours"
            make_recording(audio, hours)
            out = top / f"of-{hours:g}-hours"
            figures, _ = job(audio, out)
            shutil.rmtree(audio)
            rows.append({"what": f"{hours:g} hours"} | figures | by_the_hour(out))
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

    def found(*_: object) -> Iterator[tuple[str, str, int, None, None]]:
        return ((f"file:///nowhere/{i:07d}.flac", f"{i}-1", 900_000, None, None) for i in range(n))

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
    originals = [folder.parent / f"{i}.wav" for i in range(40)]  # beside it: no clips of the job
    for path in originals:
        samples = 0.1 * rng.standard_normal(round(rng.uniform(0.3, 1.3) * 16_000))
        soundfile.write(path, samples, 16_000)
    for i in range(n):
        os.link(originals[i % len(originals)], folder / f"{i:06d}.wav")


def make_recording(folder: Path, hours: float) -> None:
    """One recording of faint noise that comes and goes, mono, 22 kHz, flac: some 80 MB an hour."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    minute = 0.003 * rng.standard_normal(60 * RATE_HZ).astype(np.float32)
    with soundfile.SoundFile(folder / "long.flac", "w", RATE_HZ, 1, "PCM_16") as file:
        for number in range(round(60 * hours)):
            file.write(minute * (0.1 + 0.9 * (number % 3)))


@dataclass
class Watched:
    """What was seen of a job's processes, twice a second.

    Attributes
    ----------
    at, cpu_s, driver_mib : a value per look: when, the CPU seconds of all processes so far, and the
        driver's resident set
    """

    at: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    driver_mib: list[float] = field(default_factory=list)
    largest_mib: float = 0.0


def job(audio: Path, out: Path) -> tuple[dict[str, Any], Watched]:
    """Run ``tag`` as a user does; its figures, and what was seen meanwhile."""
    command = [sys.executable, "-m", "pipelines", "tag", str(audio), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    watched = Watched()
    watcher = threading.Thread(target=watch, args=(process, watched))
    watcher.start()
    if process.wait():
        raise RuntimeError(f"exit code {process.returncode}")
    seconds = time.perf_counter() - start
    watcher.join()
    return {"job s": seconds, "MiB": watched.largest_mib}, watched


def watch(process: subprocess.Popen[bytes], watched: Watched) -> None:
    """Look at a process and all below it until it ends."""
    spent: dict[int, float] = {}  # by process; also of those that have ended
    while process.poll() is None:
        for child in family(process.pid):
            try:
                memory, times = child.memory_info(), child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            mib = (memory.rss - memory.shared) / 2**20
            watched.largest_mib = max(watched.largest_mib, mib)
            spent[child.pid] = times.user + times.system
            if child.pid == process.pid:
                driver_mib = mib
        watched.at.append(time.time())
        watched.cpu_s.append(sum(spent.values()))
        watched.driver_mib.append(driver_mib)
        time.sleep(0.5)


def family(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def thirds(figures: dict[str, Any], watched: Watched, out: Path) -> dict[str, Any]:
    """CPU time a clip and the driver's memory in the first and the last third of the clips."""
    files = list((out / "clips").rglob("*.parquet"))
    table = pa.concat_tables([pq.ParquetFile(file).read(["processed_at"]) for file in files])
    done_at = np.sort(table["processed_at"].cast(pa.int64()).to_numpy()) / 1e6
    n = len(done_at) // 3
    ends = done_at[[0, n, 2 * n, -1]]
    cpu_s = np.diff(np.interp(ends, watched.at, watched.cpu_s))
    driver_mib = np.interp(ends, watched.at, watched.driver_mib)
    return {
        "what": f"{len(done_at)} clips",
        "clips": len(done_at),
        **figures,
        "first third CPU ms/clip": 1e3 * cpu_s[0] / n,
        "last third CPU ms/clip": 1e3 * cpu_s[2] / n,
        "driver MiB after a third": driver_mib[1],
        "driver MiB at the end": driver_mib[3],
    }


def by_the_hour(out: Path) -> dict[str, Any]:
    """CPU seconds of each stage for an hour of audio, as the record of the only run says."""
    (path,) = (out / "_runs").glob("*.json")
    record = json.loads(path.read_text())
    return {
        f"{stage} CPU s/h": seconds / record["audio_hours"]
        for stage, seconds in record["cpu_seconds"].items()
    }


if __name__ == "__main__":
    main()
