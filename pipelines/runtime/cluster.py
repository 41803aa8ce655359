"""Joining Ray or starting it, and what a job gets of the cluster."""

import logging
import os
import secrets
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pipelines.runtime import session, standard_streams, worker_logs
from pipelines.runtime.authentication import require_token
from pipelines.runtime.errors import ClusterLost
from pipelines.runtime.growth import Capacity, await_nodes, most, there
from pipelines.runtime.limits import Resources
from pipelines.runtime.ray_errors import plain_errors
from pipelines.runtime.signals import SIGNALS, Interrupted
from tagger.errors import CommandError, OptionError

CONNECT_S: Final = 10.0
CPUS_PER_GPU: Final = 16  # that decode for one; where nobody says how many GPUs to take
UNTOLD_CPUS: Final = 256  # asked for at most of a cluster that does not say how far it grows
OBJECT_STORE_BYTES: Final = 1 << 30  # of a Ray that this job starts itself

_NOT_UP: Final = "timed out during startup"  # as Ray words it

_QUIET: Final = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else each actor pool has the driver print an error
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
}


@dataclass(frozen=True)
class Workers:
    """What a job gets of the cluster, when all nodes that it asks for are there.

    Attributes
    ----------
    n_cpus : CPU workers
    n_gpus : GPUs; 0: the job runs on CPUs alone
    gpus_per_actor : the share of a GPU that an actor takes
    """

    n_cpus: int
    n_gpus: int
    gpus_per_actor: float = 1.0

    @property
    def n_actors(self) -> int:
        """Actors that have the model: on GPUs where the job uses them, else one for each CPU."""
        return self.n_gpus * int(1 / self.gpus_per_actor + 1e-9) or self.n_cpus


def connect(resources: Resources, n_useful: int = 1) -> Workers:
    """Join the Ray that ``RAY_ADDRESS`` names, or start one that only this user can reach.

    A cluster that grows may have nothing yet: it is asked for what the job is to get, and waited
    for until the job can begin.

    Parameters
    ----------
    n_useful : CPU workers that the job has work for; nodes are not started for more

    Raises
    ------
    CommandError : no Ray at that address, or a cluster that cannot give what was asked for
    NodesMissing : nodes that were waited for in vain
    ClusterLost : the cluster went away meanwhile
    Interrupted : SIGTERM arrived while Ray had its own handler in place
    """
    join(resources)
    with plain_errors():
        now = there()
        limit = most() if os.environ.get("RAY_ADDRESS") else now
        workers = _choose(resources, n_useful, now, limit)
        await_nodes(Capacity(workers.n_cpus, workers.n_gpus), resources.wait_for_nodes_s)
    return workers


def join(resources: Resources) -> None:
    """Be a driver of that Ray, whatever it has to offer; raises as ``connect`` does."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        _refuse_silence(address)
        require_token(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if not address:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # binds to loopback, here too
        if "RAY_AUTH_MODE" not in os.environ:  # loopback is open to all users of the machine
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        options |= {
            "address": "local",
            "num_cpus": resources.cpus,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        if not _is_joined():
            options["_temp_dir"] = session.begin()
    _start(address, options)


def _refuse_silence(address: str) -> None:
    """Ray itself would try to connect for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise CommandError(
            f"no Ray answers at RAY_ADDRESS={address} ({error}): give the host:port of a head "
            "node, or unset RAY_ADDRESS to run on this machine alone"
        ) from error


def _start(address: str | None, options: dict[str, Any]) -> None:
    """``ray.init``, unless this process is connected already; Ray keeps its log to files."""
    import ray.data  # noqa: F401 (whose handlers are there from then on)

    of_this_process = logging.getLogger().handlers  # some of which may be there too
    for output in logging.getLogger("ray.data").handlers:
        if isinstance(output, logging.StreamHandler) and output not in of_this_process:
            output.setLevel(logging.CRITICAL)
    if _is_joined():
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if worker_logs.wanted():
        _init(address, options | worker_logs.options())
        worker_logs.tell()
    else:
        _init(address, options)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _is_joined() -> bool:
    """Whether this process has a Ray already."""
    import ray

    return bool(ray.is_initialized())


def _init(address: str | None, options: dict[str, Any]) -> None:
    import ray

    try:
        with _stderr_held_back():
            ray.init(**options)
    except SystemExit as end:
        raise Interrupted(signal.SIGTERM) from end
    except (ConnectionError, RuntimeError) as error:
        if not address:
            raise
        raise CommandError(f"cannot join the Ray at RAY_ADDRESS={address}: {error}") from error
    except Exception as error:
        if _NOT_UP not in str(error):  # Ray has no type for it
            raise
        raise ClusterLost(
            "Ray did not come up on this machine, which may be busy: start the same command again"
        ) from error


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what C++ prints on standard error, and print it if the block fails."""
    standard_streams.tell("")
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _choose(resources: Resources, n_useful: int, now: Capacity, limit: Capacity | None) -> Workers:
    """What is asked for; else what there is, and of what may come as much as is useful.

    Parameters
    ----------
    limit : what the cluster may grow to; None: nobody knows, and GPUs come only if asked for
    """
    known = limit or Capacity(UNTOLD_CPUS, now.gpus)
    useful_gpus = min(known.gpus, -(-n_useful // CPUS_PER_GPU))
    for option in ("cpus", "gpus"):
        asked, offered = getattr(resources, option), limit and getattr(limit, option)
        if asked is not None and offered is not None and asked > offered:
            raise OptionError(option, f"asks for {asked}, the Ray cluster offers {offered} at most")
    n_cpus = resources.cpus or max(now.cpus, min(known.cpus, n_useful))
    if n_cpus < 1:
        raise CommandError("the Ray cluster has no CPU and starts no nodes: add a worker node")
    n_gpus = resources.gpus if resources.gpus is not None else max(now.gpus, useful_gpus)
    return Workers(n_cpus, n_gpus, resources.gpus_per_actor)
