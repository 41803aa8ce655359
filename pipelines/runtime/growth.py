"""How far a cluster may grow, and waiting until its first nodes are there.

A cluster that starts nodes on demand may have none when a job begins. What it may become is in the
configuration of whoever starts its nodes; a job plans for that, asks for it at once, and begins
with the first nodes that come.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipelines.runtime.errors import NodesMissing

POLL_S: Final = 0.3
GPU_ACTOR_CPUS: Final = 0.1  # beside its GPU
MOST_ASKED: Final = 512  # placement groups; what waits after that asks for the rest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Capacity:
    """CPUs and GPUs: what a cluster has, or the most that it may have."""

    cpus: int
    gpus: int

    def without(self, other: "Capacity") -> "Capacity":
        """What of it another has not."""
        return Capacity(max(0, self.cpus - other.cpus), max(0, self.gpus - other.gpus))

    @classmethod
    def of(cls, resources: Mapping[str, float]) -> "Capacity":
        """Ray's names for them."""
        return cls(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))

    def __str__(self) -> str:
        kinds = ((self.cpus, "CPU"), (self.gpus, "GPU"))
        parts = [f"{n} {name}{'s' if n > 1 else ''}" for n, name in kinds if n]
        return " and ".join(parts) or "nothing"


def there() -> Capacity:
    """What the cluster has now."""
    import ray

    return Capacity.of(ray.cluster_resources())  # type: ignore[no-untyped-call]


def most() -> Capacity | None:
    """What the cluster may grow to; None where nobody says.

    Asks Ray's state, which knows where whoever scales the cluster has told it. Ray's own
    autoscaler has not: its configuration is the file that the monitor on the head was started
    with. A monitor without a file adds no nodes. No monitor at all means that nodes come from
    elsewhere, as with KubeRay.
    """
    told = _told_by_ray()
    if told is not None:
        return Capacity.of(told)
    command = _on_head(_monitor_command)
    if command is None:
        return None
    files = [word.partition("=")[2] for word in command if word.startswith("--autoscaling-config=")]
    if not files:
        return there()
    return most_of(yaml.safe_load(_on_head(_read, files[0])))


def _told_by_ray() -> Mapping[str, float] | None:
    """Private to Ray, and what Ray Data and Ray Train themselves ask."""
    from ray._private.state import state

    told: Mapping[str, float] | None = state.get_max_resources_from_cluster_config()
    return told


def _on_head(function: Any, *args: Any) -> Any:
    """The function's result on the head node, which may be this one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    (head,) = (
        node["NodeID"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"] and "node:__internal_head__" in node["Resources"]
    )
    context = ray.get_runtime_context()
    if head == context.get_node_id():
        return function(context.gcs_address, *args)
    place = NodeAffinitySchedulingStrategy(head, soft=False)
    task = ray.remote(num_cpus=0)(function).options(scheduling_strategy=place)
    return ray.get(task.remote(context.gcs_address, *args))


def _monitor_command(gcs_address: str) -> list[str] | None:
    """The words of the command that the head's monitor was started with."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # a process that has ended meanwhile, or of another user
            continue
        is_monitor = any(word.endswith("/monitor.py") for word in words)
        if is_monitor and f"--gcs-address={gcs_address}" in words:
            return words
    return None


def _read(gcs_address: str, file: str) -> str:
    return Path(file).expanduser().read_text(encoding="utf-8")


def most_of(config: Mapping[str, Any]) -> Capacity:
    """What a configuration of Ray's autoscaler allows in CPUs, and in GPUs."""
    kinds: dict[str, Any] = dict(config["available_node_types"])
    head = kinds.pop(config["head_node_type"])
    limit = config.get("max_workers", 2)  # Ray's default

    def most_in(resource: str) -> float:
        """The nodes with most of it, as many as there may be."""
        sizes = sorted(
            (
                (kind.get("resources", {}).get(resource, 0), kind.get("max_workers", limit))
                for kind in kinds.values()
            ),
            reverse=True,
        )
        left, total = limit, head.get("resources", {}).get(resource, 0)
        for size, n_nodes in sizes:
            total += size * min(n_nodes, left)
            left -= min(n_nodes, left)
        return float(total)

    return Capacity.of({name: most_in(name) for name in ("CPU", "GPU")})


def await_nodes(wanted: Capacity, patience_s: float) -> None:
    """Return when the cluster has a CPU and, where GPUs are wanted, a GPU; ask for all meanwhile.

    Workers that have no place yet are asked for as placement groups, which end with the wait.

    Raises
    ------
    NodesMissing : the nodes did not come
    """
    if _suffices(there(), wanted):
        return
    from ray.util import placement_group, remove_placement_group

    missing = wanted.without(there())
    _log.warning("waiting for nodes with %s, at most %g s", missing, patience_s)
    bundles = [{"GPU": 1.0, "CPU": GPU_ACTOR_CPUS}] * missing.gpus + [{"CPU": 1.0}] * missing.cpus
    asked = [placement_group([bundle]) for bundle in bundles[:MOST_ASKED]]
    give_up = time.monotonic() + patience_s
    try:
        while not _suffices(there(), wanted):
            if time.monotonic() > give_up:
                raise NodesMissing(_told(there(), patience_s))
            time.sleep(POLL_S)
    finally:
        for each in asked:
            remove_placement_group(each)


def _suffices(now: Capacity, wanted: Capacity) -> bool:
    """Whether a job that wants so much can begin."""
    return now.cpus >= 1 and now.gpus >= min(wanted.gpus, 1)


def _told(now: Capacity, patience_s: float) -> str:
    missing = "CPU" if not now.cpus else "GPU"
    instead = "" if missing == "CPU" else ", or do without (--gpus 0)"
    return (
        f"no node with a {missing} joined the Ray cluster within {patience_s:g} s: see on its head "
        f"what `ray status` says of failed launches, wait longer (--wait-for-nodes){instead}"
    )
