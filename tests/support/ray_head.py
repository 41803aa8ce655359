"""A Ray of several nodes on this machine, each in processes of its own."""

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.support.processes import below, raylets
from tests.support.s3_server import free_ports

SEVERAL_NODES = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}  # undoes what binds Ray to loopback
_NOTICES_DEATHS_SOON = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
}


@dataclass
class Head:
    """A Ray head with a dashboard; nodes can be added and killed.

    Nodes of one head on one machine unpack uploaded folders over each other: those that were added
    must be gone before a job is submitted.
    """

    folder: Path
    port: int = 0
    dashboard: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """For a driver that joins."""
        return {"RAY_ADDRESS": f"127.0.0.1:{self.port}", **SEVERAL_NODES}

    def start(self, n_cpus: int = 2, *flags: str, **environment: str) -> None:
        """Start the head, which notices dead nodes within seconds."""
        self.port, self.dashboard, client = free_ports(3)
        self._start_node(
            *("--head", f"--port={self.port}", f"--num-cpus={n_cpus}"),
            *(f"--ray-client-server-port={client}", "--include-dashboard=true"),
            *(f"--dashboard-port={self.dashboard}", *flags),
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            **_NOTICES_DEATHS_SOON,
            **environment,
        )

    def add_node(self, *flags: str) -> psutil.Process:
        """Add a node with one logical CPU; returns its raylet."""
        return self._start_node(f"--address=127.0.0.1:{self.port}", "--num-cpus=1", *flags)

    def _start_node(self, *flags: str, **environment: str) -> psutil.Process:
        ray = Path(sys.executable).with_name("ray")
        (agent,) = free_ports(1)
        common = ["--block", "--disable-usage-stats", "--object-store-memory=150000000"]
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
            if found := raylets(below(process.pid)):
                return found[0]
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def family(self) -> set[psutil.Process]:
        """All processes of all nodes."""
        return {each for process in self.processes for each in below(process.pid)}

    def stop(self) -> None:
        """End all nodes."""
        family = self.family()
        running = [process for process in self.processes if process.poll() is None]
        for each in (*running, *family):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        for process in running:
            process.wait()
        psutil.wait_procs(family, timeout=10)
