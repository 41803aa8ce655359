"""When the driver commits what is staged, and how entries are published."""

from typing import Final, Protocol

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish
from pipelines.output.run_records import RunRecord
from pipelines.output.tally import Tally
from pipelines.tagging.plan import Receipt

COMMIT_CLIPS: Final = 10_000
COMMIT_SEGMENTS: Final = 250_000  # 128 MB of embeddings


class Publisher(Protocol):
    """Publishes entries, at once or in the background."""

    def publish(self, entry: Entry) -> None:
        """Take an entry on."""

    def ended(self, wait: bool) -> int:
        """Raise what publishing has raised; give the repeated calls of what has ended since.

        With ``wait`` everything has ended on return.
        """


class DirectPublisher:
    """Publishes each entry before it returns."""

    def __init__(self, commit_log: CommitLog) -> None:
        self._commit_log = commit_log

    def publish(self, entry: Entry) -> None:
        publish(self._commit_log.store, self._commit_log.model_id, entry)

    def ended(self, wait: bool) -> int:
        return 0  # repeated calls of this process are counted for the whole run


class Committer:
    """Gathers staged files; commits them when it is worth an entry, and has the entry published.

    The last entry is published here, where everything is loaded: a worker would have to start.

    Attributes
    ----------
    n_lost : staged files that were damaged before they were committed; their clips are not done
    """

    def __init__(
        self, commit_log: CommitLog, run: Run, record: RunRecord, publisher: Publisher
    ) -> None:
        self._commit_log = commit_log
        self._run = run
        self._record = record
        self._publisher = publisher
        self._receipts: list[Receipt] = []
        self._waiting = Tally()
        self.n_lost = 0

    def add(self, receipt: Receipt) -> None:
        """Take note of a staged file; raises what publishing has raised meanwhile."""
        self._receipts.append(receipt)
        self._waiting.add(receipt.tally)
        n_clips = self._waiting.n_tagged + self._waiting.n_failed
        if n_clips >= COMMIT_CLIPS or self._waiting.n_segments >= COMMIT_SEGMENTS:
            self._commit(self._publisher)
        self._record.tally.n_retries += self._publisher.ended(wait=False)

    def finish(self) -> None:
        """Commit the rest, and wait until everything is published."""
        self._commit(DirectPublisher(self._commit_log))
        self._record.tally.n_retries += self._publisher.ended(wait=True)

    def _commit(self, publisher: Publisher) -> None:
        entry = self._commit_log.commit(self._run, [receipt.file for receipt in self._receipts])
        if entry is not None:
            self._record.entries.append(entry.number)
            publisher.publish(entry)
        for receipt in self._receipts:
            if receipt.file in self._commit_log.set_aside:
                self._record.tally = self._record.tally.without(receipt.tally)
                self.n_lost += 1
        self._receipts = []
        self._waiting = Tally()
