"""The board on a Ray cluster: an actor that needs no CPU, on the driver's node.

Of what was weighed this is the cheapest that is public and leaves nothing behind:

- An actor call costs the worker some tenths of a millisecond and waits for no answer. It is lost
  with the actor, which Ray starts again; the worker does not notice.
- A file per worker in the output would be a request every five seconds for each of them, paid for
  on S3, and files that a killed run leaves.
- Ray's key-value store needs no process, but is private, waits for its server, and keeps what a
  killed driver wrote.
- Metrics go to Prometheus, and nowhere that a driver could read them.

Its process starts when the driver first asks, with a beat of the run's record: before the first
batches it would take CPU from the workers that start for these. Until then workers look for it in
vain, and nobody hears what they tell.
"""

from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.tagging.board import Done, LocalBoard

ASK_S: Final = 2.0


class RayBoard:
    """A board that all workers of a cluster reach; it ends with its driver."""

    def __init__(self) -> None:
        self._name = f"board-{uuid4()}"
        self._actor: Any = None
        self._last = Done(0, 0.0)

    def write(self, batch: int, done: Done) -> None:
        if self._is_found():
            with suppress(RayError):
                self._actor.write.remote(batch, done)

    def wipe(self, batch: int) -> None:
        if self._is_found():
            with suppress(RayError):
                self._actor.wipe.remote(batch)

    def _is_found(self) -> bool:
        """Whether a worker has the actor, which may not have started."""
        if self._actor is None:
            with suppress(RayError, ValueError):
                self._actor = ray.get_actor(self._name)
        return self._actor is not None

    def total(self) -> Done:
        """As the actor says; as it said before, where it does not answer in two seconds."""
        with suppress(RayError):
            if self._actor is None:
                self._actor = self._started()
            else:
                self._last = ray.get(self._actor.total.remote(), timeout=ASK_S)
        return self._last

    def _started(self) -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": here}
        return ray.remote(LocalBoard).options(name=self._name, **options).remote()
