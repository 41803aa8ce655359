"""Ray's real autoscaler, whose nodes are raylets on this machine."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

from tests.support.processes import below, raylets
from tests.support.ray_head import SEVERAL_NODES

PORT: Final = 6379  # where the provider's nodes look for the head, whatever its port
HEAD_ID: Final = "f" * 51 + "00000"
HEAD_TYPE: Final = "ray.head.default"  # the provider knows no other
IDLE_S: Final = 5.0

ENVIRONMENT: Final = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
    **SEVERAL_NODES,
}


def configuration(**max_workers: int) -> dict[str, Any]:
    """A configuration of the autoscaler: a head without CPUs, and ``cpu`` and ``gpu`` workers.

    A worker has one CPU in name, and a GPU where it is called so.
    """
    kinds = {
        name: {
            "resources": {"CPU": 1} | ({"GPU": 1} if name == "gpu" else {}),
            "node_config": {},
            "min_workers": 0,
            "max_workers": n,
        }
        for name, n in max_workers.items()
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    steps = ["initialization", "setup", "head_setup", "worker_setup"]
    steps += ["head_start_ray", "worker_start_ray"]
    return {
        "cluster_name": "test",
        "max_workers": sum(max_workers.values()),
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": {
            "type": "external",
            "module": module,
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
        },
        "auth": {},
        "head_node_type": HEAD_TYPE,
        "available_node_types": {HEAD_TYPE: head, **kinds},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{step}_commands": [] for step in steps},
    }


@dataclass
class AutoscaledHead:
    """A head without CPUs that starts workers on demand and ends idle ones; one at a time."""

    config: dict[str, Any]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ray-")))
    process: subprocess.Popen[bytes] | None = None

    @property
    def env(self) -> dict[str, str]:
        """For a driver that joins."""
        return {"RAY_ADDRESS": f"127.0.0.1:{PORT}", **SEVERAL_NODES}

    def start(self) -> None:
        """Start it and wait until it runs."""
        file = self.folder / "config.yaml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        ray = Path(sys.executable).with_name("ray")
        flags = ["--head", "--block", f"--port={PORT}", "--num-cpus=0", "--disable-usage-stats"]
        flags += [f"--autoscaling-config={file}", "--include-dashboard=false"]
        flags += ["--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=150000000"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(ray), "start", *flags],
                cwd=self.folder,
                env={**os.environ, **ENVIRONMENT, "RAY_TMPDIR": str(self.folder)},
                stdout=log,
                stderr=log,
            )
        while not raylets(below(self.process.pid)):
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.1)

    def family(self) -> set[psutil.Process]:
        """All processes of the head and its workers, wherever the autoscaler put them."""
        mine = str(self.folder)
        found = set()
        for process in psutil.process_iter():
            try:
                if any(mine in word for word in process.cmdline()):
                    found.add(process)
            except psutil.Error:
                continue
        return found

    def n_workers(self) -> int:
        """Raylets beside the head's."""
        return len(raylets(self.family())) - 1

    def stop(self) -> None:
        """End the head and all workers."""
        family = self.family() | (below(self.process.pid) if self.process else set())
        for each in family:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=10)
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
