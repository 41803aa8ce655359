"""How far a run is, from its receipts and from the board; told to its record and as metrics."""

import logging
import os
import threading

from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.tally import Tally
from pipelines.runtime import cluster, metrics
from pipelines.runtime.limits import Resources
from pipelines.runtime.metrics import RunMetrics
from pipelines.tagging.board import Board, LocalBoard
from tagger.errors import CommandError
from tagger.logmel import SEGMENT_S

_log = logging.getLogger(__name__)


class Watch:
    """What is known of a run while it goes on.

    Attributes
    ----------
    board : where workers tell how far they are in the batches at hand
    metrics : None where no Ray is at work
    """

    def __init__(self, record: RunRecord) -> None:
        self.board: Board = LocalBoard()
        self.metrics: RunMetrics | None = None
        self._record = record
        self._turn = threading.Lock()

    def look(self) -> None:
        """Bring record and metrics up to date; for any thread."""
        with self._turn:
            under_way = self.board.total()
            self._record.under_way_s = under_way.n_segments * SEGMENT_S
            self._record.expected_under_way_s = under_way.expected_s
            if self.metrics is not None:
                _tell(self.metrics, self._record, under_way.n_segments)

    def tell_completed(self) -> None:
        """Tell Prometheus of a run that is complete, also of one that had nothing to do.

        Such a run has not joined the cluster; where there is one, it joins for this word, so that
        nights without new recordings are not taken for nights without a run.
        """
        if self._record.state != RunState.COMPLETE:
            return
        if self.metrics is None and os.environ.get("RAY_ADDRESS"):
            try:
                cluster.join(Resources())
            except CommandError as error:
                _log.warning("no metric tells that the run has completed: %s", error)
                return
            self.metrics = RunMetrics(self._record.model_id)
        if self.metrics is not None:
            self.metrics.tell_completed()


def _tell(told: RunMetrics, record: RunRecord, n_under_way: int) -> None:
    tally: Tally = record.tally
    told.tell(metrics.CLIPS, tally.n_tagged)
    told.tell(metrics.AUDIO_HOURS, tally.audio_s / 3600)
    told.tell(metrics.RETRIES, tally.n_retries)
    told.tell(metrics.PATCHES, tally.n_segments + n_under_way)
    for reason, n in tally.failures.items():
        told.tell(metrics.FAILURES, n, reason)
    for stage, seconds in tally.seconds.items():
        told.tell(metrics.STAGE_SECONDS, seconds, stage)
    told.tell(metrics.CLIPS_LEFT, record.n_to_do - tally.n_recordings)
