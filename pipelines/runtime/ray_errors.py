"""What Ray raises, told as what it means for the job."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from pipelines.runtime.liveness import Part, lost, watched
from pipelines.storage.errors import AccessDenied, StoreUnavailable, one_line
from tagger.errors import CommandError

RAYLET_AWAY_S: Final = 1.0  # it never comes back
GCS_AWAY_S: Final = 60.0  # after which Ray gives up one that may come back
GCS_AWAY_VARIABLE: Final = "RAY_gcs_rpc_server_reconnect_timeout_s"
LONGEST_CAUSE: Final = 200  # characters of what Ray says of a loss


@contextmanager
def plain_errors() -> Iterator[None]:
    """Around all that is done on Ray: its errors become those that people can act on.

    Raises
    ------
    AccessDenied, StoreUnavailable, CommandError : as a worker raised them
    ClusterLost : the cluster or a node that was needed is gone
    """
    parts = _needed()
    with watched(parts):
        try:
            yield
        except Exception as error:
            for cause in _causes(error):
                if isinstance(cause, AccessDenied | StoreUnavailable | CommandError):
                    raise cause from None
                if _tells_of_loss(cause, parts):
                    what = f"{type(cause).__name__}: {one_line(cause)[:LONGEST_CAUSE]}"
                    raise lost(f"the Ray cluster or a node of it is gone ({what})") from error
            raise


def _needed() -> list[Part]:
    """What a driver cannot do without: the raylet of its node, and the GCS."""
    import ray

    if not ray.is_initialized():
        return []
    here = ray.get_runtime_context()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    (node,) = (each for each in nodes if each["NodeID"] == here.get_node_id())
    raylet = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    gives_up_s = float(os.environ.get(GCS_AWAY_VARIABLE, GCS_AWAY_S))
    return [
        Part("the raylet of this node", raylet, RAYLET_AWAY_S),
        Part("the head of the Ray cluster", here.gcs_address, 0.75 * gives_up_s),
    ]


def _tells_of_loss(error: BaseException, parts: Sequence[Part]) -> bool:
    """Whether an error says that a process or node is gone, and not what our code did."""
    from ray import exceptions as of_ray

    if isinstance(error, of_ray.RayActorError):
        return not error.actor_init_failed
    gone = (
        of_ray.LocalRayletDiedError,
        of_ray.NodeDiedError,
        of_ray.ObjectLostError,
        of_ray.WorkerCrashedError,
    )
    if isinstance(error, gone):
        return True
    return isinstance(error, of_ray.RayError) and not all(part.answers() for part in parts)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What is behind the error of a task, or of Ray Train's workers."""
    from ray.exceptions import RayTaskError

    if isinstance(error, RayTaskError):
        yield from _causes(error.cause)
    elif failures := getattr(error, "worker_failures", None):
        for failure in failures.values():
            yield from _causes(getattr(failure, "_base_exc", failure))
    else:
        yield error
