"""``rebuild-log``: the log of an output, and its settings, made anew from the tables."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.housekeeping.jobs import RebuildLogJob
from pipelines.output.erasure import locked
from pipelines.output.inventory import models
from pipelines.output.log_entry import Run
from pipelines.output.lost_settings import rebuild_settings
from pipelines.output.rebuilding import Rebuilt, rebuild_log
from pipelines.output.run_records import new_run_id
from pipelines.output.views import write_views
from pipelines.storage.store import open_store


@dataclass(frozen=True)
class RebuildReport:
    """What ``rebuild-log`` did.

    Attributes
    ----------
    settings : where the settings come from, if they were made anew
    """

    settings: str | None
    models: tuple[Rebuilt, ...]


def rebuild(job: RebuildLogJob) -> RebuildReport:
    """Run the job.

    Raises
    ------
    CommandError : no output, or another job is at work on it
    AccessDenied, StoreUnavailable : a store gave out; the same command goes on
    """
    store = open_store(job.out, job.store_patience_s)
    run = Run(new_run_id(), f"{datetime.now(UTC):%Y-%m-%d}")
    settings = rebuild_settings(store)
    with locked(store, run):
        found = tuple(rebuild_log(store, model_id, run) for model_id in models(store))
    write_views(store)
    return RebuildReport(settings, found)
