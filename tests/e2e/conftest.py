"""For tests of whole jobs: sounds, collections, and the command as a user gives it."""

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.cli.main import main
from pipelines.storage.store import open_store
from tests.support.s3_server import free_ports

ROOT = Path(__file__).parents[2]
SEVERAL_NODES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}  # undoes what binds Ray to loopback


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def write_sound() -> Callable[..., Path]:
    """``write_sound(path, seconds=1.0, rate=16_000, channels=1, subtype=None, seed=0)``: noise."""

    def write(
        path: Path,
        seconds: float = 1.0,
        rate: int = 16_000,
        channels: int = 1,
        subtype: str | None = None,
        seed: int = 0,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (round(seconds * rate), channels)
        samples = 0.1 * np.random.default_rng(seed).standard_normal(shape)
        soundfile.write(path, samples, rate, subtype)
        return path

    return write


@pytest.fixture(scope="session")
def tag(ray_cluster: str, tiny_model: Path) -> Callable[..., Done]:
    """``tag(*arguments)``: the verb with the tiny model, in this process, on the shared Ray."""

    def run(*arguments: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["tag", "--model", str(tiny_model), "--cpus", "2", *arguments])
        return Done(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def tables() -> Callable[[str], dict[str, list[dict[str, Any]]]]:
    """``tables(out)``: all rows of the tables of an output, tables without files left out."""

    def read(out: str) -> dict[str, list[dict[str, Any]]]:
        store = open_store(out)
        found: dict[str, list[dict[str, Any]]] = {}
        for table in ("clips", "tags", "embeddings", "timeline", "failures"):
            files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(table)]
            if files:
                found[table] = pa.concat_tables(files).to_pylist()
        return found

    return read


@pytest.fixture
def begin_tag(tiny_model: Path) -> Callable[..., subprocess.Popen[str]]:
    """``begin_tag(*arguments, **environment)``: the verb in a process of its own."""

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines", "tag", "--model", str(tiny_model), *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


@pytest.fixture(scope="session")
def family() -> Callable[[int], set[psutil.Process]]:
    """``family(pid)``: the processes below a process, as they are now."""

    def below(pid: int) -> set[psutil.Process]:
        try:
            return set(psutil.Process(pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return set()

    return below


@dataclass
class Head:
    """A Ray head in processes of its own, with a dashboard; nodes can be added and killed."""

    folder: Path
    port: int
    dashboard: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """For a driver that joins."""
        return {"RAY_ADDRESS": f"127.0.0.1:{self.port}", **SEVERAL_NODES}

    def start(self, *flags: str, **environment: str) -> psutil.Process:
        """Start a node and wait until it runs; returns its raylet."""
        ray = Path(sys.executable).with_name("ray")
        common = ["--block", "--disable-usage-stats", "--object-store-memory=150000000"]
        (agent,) = free_ports(1)
        common += [f"--dashboard-agent-listen-port={agent}"]
        common += ["--min-worker-port=0", "--max-worker-port=0", "--node-ip-address=127.0.0.1"]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [str(ray), "start", *common, *flags],
                cwd=self.folder,
                env={**os.environ, **SEVERAL_NODES, **environment},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        while process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            raylets = [child for child in children if child.name() == "raylet"]
            if raylets:
                return raylets[0]
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End all nodes."""
        running = [process for process in self.processes if process.poll() is None]
        family = [
            child
            for process in running
            for child in psutil.Process(process.pid).children(recursive=True)
        ]
        for each in (*running, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        for process in running:
            process.wait()
        psutil.wait_procs(family, timeout=10)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head with two logical CPUs that notices dead nodes soon.

    Each module has its own: nodes of one head on one machine unpack uploaded folders over each
    other, so those that a module adds must be gone before another submits jobs.
    """
    port, dashboard, client = free_ports(3)
    node = Head(tmp_path_factory.mktemp("head"), port, dashboard)
    health = {"period_ms": "1000", "failure_threshold": "3", "initial_delay_ms": "0"}
    try:
        node.start(
            *(
                "--head",
                f"--port={node.port}",
                "--num-cpus=2",
                f"--ray-client-server-port={client}",
            ),
            *("--include-dashboard=true", f"--dashboard-port={node.dashboard}"),
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **{f"RAY_health_check_{name}": value for name, value in health.items()},
        )
        yield node
    finally:
        node.stop()
