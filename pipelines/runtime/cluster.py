"""Joining Ray or starting it, and what the cluster offers."""

import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pipelines.runtime import worker_logs
from pipelines.runtime.authentication import require_token
from pipelines.runtime.limits import Resources
from pipelines.runtime.signals import SIGNALS, Interrupted
from tagger.errors import CommandError

CONNECT_S: Final = 10.0
OBJECT_STORE_BYTES: Final = 1 << 30  # of a Ray that this job starts itself

_QUIET: Final = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # else each actor pool has the driver print an error
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
}


@dataclass(frozen=True)
class Workers:
    """What a job gets of the cluster: CPU workers, and GPU actors (0: it runs on CPUs alone)."""

    n_cpus: int
    n_gpus: int


def connect(resources: Resources) -> Workers:
    """Join the Ray that ``RAY_ADDRESS`` names, or start one that only this user can reach.

    Raises
    ------
    CommandError : no Ray at that address, or the cluster has not what was asked for
    Interrupted : SIGTERM arrived while Ray had its own handler in place
    """
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
    _start(address, options)
    import ray

    offered: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return _choose(resources, int(offered.get("CPU", 0)), int(offered.get("GPU", 0)))


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
    import ray
    import ray.data

    for output in logging.getLogger("ray.data").handlers:
        if isinstance(output, logging.StreamHandler):
            output.setLevel(logging.CRITICAL)
    if ray.is_initialized():
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    if worker_logs.wanted():
        _init(address, options | worker_logs.options())
        worker_logs.tell()
    else:
        _init(address, options)
    for number, handler in handlers.items():
        signal.signal(number, handler)


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


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what C++ prints on standard error, and print it if the block fails."""
    sys.stderr.flush()
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


def _choose(resources: Resources, n_cpus: int, n_gpus: int) -> Workers:
    """Flags first: a cluster that grows on demand may have nothing yet."""
    if n_cpus < 1 and resources.cpus is None:
        raise CommandError("the Ray cluster has no CPU: add a worker node, or say --cpus")
    if resources.gpus is not None and resources.gpus > n_gpus:
        raise CommandError(f"--gpus {resources.gpus}, but the Ray cluster offers {n_gpus}")
    return Workers(
        n_cpus if resources.cpus is None else resources.cpus,
        n_gpus if resources.gpus is None else resources.gpus,
    )
