"""Publishing in Ray's tasks, while the driver goes on."""

from typing import Any

import ray

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry
from pipelines.output.publication import publish
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import Store


class RayPublisher:
    """A task for each entry; one that is lost is repeated by Ray, and does the same again."""

    def __init__(self, commit_log: CommitLog) -> None:
        self._commit_log = commit_log
        self._publish = ray.remote(num_cpus=0)(_publish)
        self._under_way: list[Any] = []

    def publish(self, entry: Entry) -> None:
        model_id = self._commit_log.model_id
        self._under_way.append(self._publish.remote(self._commit_log.store, model_id, entry))

    def ended(self, wait: bool) -> int:
        if not self._under_way:
            return 0
        n, timeout = len(self._under_way), None if wait else 0
        ended, self._under_way = ray.wait(self._under_way, num_returns=n, timeout=timeout)
        return sum(ray.get(ended))


def _publish(store: Store, model_id: str, entry: Entry) -> int:
    """Publish the entry; returns how many calls to the store were repeated for it."""
    retries = RetryCount()
    publish(store, model_id, entry)
    return retries.n
