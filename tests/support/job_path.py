"""What a worker of the ``tag`` job does to a batch of files, in this process."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipelines.inputs.listing import gather
from pipelines.runtime.limits import Limits
from pipelines.tagging.job import TagJob
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import ClipTagger, Event, Preprocessor
from tagger.errors import Reason
from tagger.tagging import Tagger

LIMITS: Final = Limits(clip_timeout_s=20.0, max_hours=0.05, clip_memory_mb=1024)
BAD: Final = (Reason.CRASHED, Reason.TIMEOUT, Reason.OUT_OF_MEMORY)


class JobPath:
    """What a worker of the job does to a batch, in this process."""

    def __init__(self, model: str, limits: Limits = LIMITS) -> None:
        self._preprocess = Preprocessor(limits)
        settings = RowSettings.of(TagJob(inputs=(), out="", timeline=True), "model", "run")
        self._tag = ClipTagger(Tagger.load(model), settings)
        self.longest_s = 0.0

    def outcomes(self, made: dict[str, bytes]) -> dict[str, tuple[str, str]]:
        """What each file of a batch came to, and more about it, by name."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in made.items():
                Path(folder, name).write_bytes(data)
            clips = gather([folder])
            table, tally = self._tag(clips, self._timed(self._preprocess(clips)))
        assert table["clip_id"].to_pylist() == clips["clip_id"].to_pylist()
        assert tally.n_tagged + tally.n_failed == len(made)
        rows = {Path(row["uri"]).name: row for row in table.to_pylist()}
        assert rows.keys() == made.keys()
        return {name: outcome(row) for name, row in rows.items()}

    def _timed(self, events: Iterator[Event]) -> Iterator[Event]:
        while True:
            start = time.perf_counter()
            event = next(events, None)
            self.longest_s = max(self.longest_s, time.perf_counter() - start)
            if event is None:
                return
            yield event


def outcome(row: dict[str, Any]) -> tuple[str, str]:
    """``tagged``, ``tagged, damaged``, or why it failed; checks what such a row must hold."""
    if row["reason"] is not None:
        assert "\n" not in row["detail"]
        return str(Reason(row["reason"])), row["detail"]
    assert row["n_segments"] >= 1
    assert row["tags"]
    assert 0.0 <= row["content_start_s"] < row["content_end_s"] <= row["duration_s"]
    return ("tagged, damaged" if row["damage"] else "tagged"), row["damage"] or ""
