"""What Ray's Prometheus endpoint tells of a run; every name stands here.

Ray puts ``ray_`` before each name, and ``_total`` behind that of a counter: ``CLIPS`` is scraped as
``ray_tagger_clips_total``. The driver counts, so each run has series of its own. Counters stay on
the endpoint when the driver has ended; gauges are gone some seconds later. Therefore the time at
which a run completed is a counter, raised once.
"""

import time
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Metric:
    """A name, what it counts, and the labels that it has beside ``model``."""

    name: str
    description: str
    labels: tuple[str, ...] = ()
    is_counter: bool = True

    @property
    def scraped(self) -> str:
        """The name that Prometheus knows."""
        return f"ray_{self.name}_total" if self.is_counter else f"ray_{self.name}"


CLIPS: Final = Metric("tagger_clips", "Clips that were tagged.")
AUDIO_HOURS: Final = Metric("tagger_audio_hours", "Hours of audio in the clips that were tagged.")
FAILURES: Final = Metric("tagger_failures", "Clips that failed.", ("reason",))
RETRIES: Final = Metric("tagger_store_retries", "Calls to stores that workers repeated.")
PATCHES: Final = Metric(
    "tagger_patches", "Patches of 0.96 s that were embedded, also of batches that are not done."
)
STAGE_SECONDS: Final = Metric("tagger_stage_seconds", "Seconds that workers spent.", ("stage",))
COMPLETED_AT: Final = Metric("tagger_completed_at_seconds", "Unix time at which a run completed.")
CLIPS_LEFT: Final = Metric("tagger_clips_left", "Clips that are left to do.", is_counter=False)

METRICS: Final = (
    CLIPS,
    AUDIO_HOURS,
    FAILURES,
    RETRIES,
    PATCHES,
    STAGE_SECONDS,
    COMPLETED_AT,
    CLIPS_LEFT,
)


class RunMetrics:
    """The metrics of one run, told by its driver, which has joined Ray."""

    def __init__(self, model_id: str) -> None:
        from ray.util.metrics import Counter, Gauge

        self._model_id = model_id
        self._told: dict[tuple[str, ...], float] = {}
        self._of_ray: dict[str, Any] = {
            metric.name: (Counter if metric.is_counter else Gauge)(
                metric.name, metric.description, ("model", *metric.labels)
            )
            for metric in METRICS
        }

    def tell(self, metric: Metric, total: float, *labels: str) -> None:
        """Say what a metric comes to now; a counter never falls.

        Parameters
        ----------
        labels : values of ``metric.labels``
        """
        tags = dict(zip(metric.labels, labels, strict=True)) | {"model": self._model_id}
        of_ray = self._of_ray[metric.name]
        if not metric.is_counter:
            of_ray.set(total, tags)
            return
        key = metric.name, *labels
        more = total - self._told.get(key, 0.0)
        if more > 0.0:
            of_ray.inc(more, tags)
            self._told[key] = total

    def tell_completed(self) -> None:
        """Say that the run has completed, just now."""
        self.tell(COMPLETED_AT, time.time())
