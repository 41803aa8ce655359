"""When the driver commits what is staged, and who publishes it (design 4, "Commit", "Publish")."""

from typing import Any, Final

import ray

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish
from pipelines.output.run_records import RunRecord
from pipelines.output.tally import Tally
from pipelines.storage.retry import RetryCount
from pipelines.storage.store import Store

COMMIT_CLIPS: Final = 10_000
COMMIT_SEGMENTS: Final = 250_000  # 128 MB of embeddings


class Committer:
    """Gathers staged files; commits them when it is worth an entry, and has Ray publish it."""

    def __init__(self, commit_log: CommitLog, run: Run, record: RunRecord) -> None:
        self._publish = ray.remote(num_cpus=0)(_publish)
        self._commit_log = commit_log
        self._run = run
        self._record = record
        self._files: list[str] = []
        self._waiting = Tally()
        self._publishing: list[Any] = []

    def add(self, file: str, tally: Tally) -> None:
        """Take note of a staged file; raises what a publisher has raised meanwhile."""
        self._files.append(file)
        self._waiting.add(tally)
        n_clips = self._waiting.n_tagged + self._waiting.n_failed
        if n_clips >= COMMIT_CLIPS or self._waiting.n_segments >= COMMIT_SEGMENTS:
            self._commit()
        ended, self._publishing = (
            ray.wait(self._publishing, num_returns=len(self._publishing), timeout=0)
            if self._publishing
            else ([], [])
        )
        self._record.tally.n_retries += sum(ray.get(ended))

    def finish(self) -> None:
        """Commit the rest, and wait until everything is published."""
        self._commit()
        self._record.tally.n_retries += sum(ray.get(self._publishing))

    def _commit(self) -> None:
        entry = self._commit_log.commit(self._run, self._files)
        if entry is not None:
            self._record.entries.append(entry.number)
            self._record.write(self._commit_log.store)
            self._publishing.append(
                self._publish.remote(self._commit_log.store, self._commit_log.model_id, entry)
            )
        self._files = []
        self._waiting = Tally()


def _publish(store: Store, model_id: str, entry: Entry) -> int:
    """Publish the entry; returns how many calls to the store were repeated for it."""
    retries = RetryCount()
    publish(store, model_id, entry)
    return retries.n
