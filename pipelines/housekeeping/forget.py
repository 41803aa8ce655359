"""``forget``: recordings erased from an output and kept out of it, or a model retired from it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.housekeeping.jobs import ForgetJob
from pipelines.inputs.manifests import is_manifest, manifest_uris
from pipelines.output.commit_log import CommitLog
from pipelines.output.erasure import erase_pending, locked, retire
from pipelines.output.forgotten import bury, lift
from pipelines.output.inventory import models
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.run_records import new_run_id
from pipelines.output.settings import mark_version
from pipelines.output.views import write_views
from pipelines.storage.store import Store, open_store
from pipelines.storage.uris import canonical, is_track_uri
from tagger.errors import CommandError, OptionError


@dataclass(frozen=True)
class ForgetReport:
    """What ``forget`` did.

    Attributes
    ----------
    n_recordings : recordings that were named
    n_erased : their clips and failed attempts that were in the tables, of all versions and models
    again : the recordings may be tagged again, and nothing was erased
    n_lifted : of the recordings, those that had been forgotten
    retired : the model that was retired
    """

    n_recordings: int = 0
    n_erased: int = 0
    again: bool = False
    n_lifted: int = 0
    retired: str | None = None


def forget(job: ForgetJob) -> ForgetReport:
    """Run the job.

    Raises
    ------
    CommandError : no output, another job is at work on it, no such model, or table files are gone
    AccessDenied, StoreUnavailable : a store gave out; the next command completes what was begun
    """
    store = open_store(job.out, job.store_patience_s)
    mark_version(store)
    run = Run(new_run_id(), f"{datetime.now(UTC):%Y-%m-%d}")
    if job.model is not None:
        _retire(store, run, job.model)
        return ForgetReport(retired=job.model)
    uris = {*_named(job)}
    with locked(store, run):
        if job.again:
            erase_pending(store, run)
            return ForgetReport(len(uris), again=True, n_lifted=lift(store, uris))
        bury(store, run.run_id, uris)
        n_erased = erase_pending(store, run)
    write_views(store)
    return ForgetReport(len(uris), n_erased)


def _named(job: ForgetJob) -> Iterator[str]:
    """The canonical URIs of the recordings."""
    yield from (uri if is_track_uri(uri) else canonical(uri) for uri in job.uris)
    if job.manifest is not None:
        uri = canonical(job.manifest)
        if not is_manifest(uri):
            raise OptionError("manifest", "must be a .txt, .csv or .parquet file")
        yield from manifest_uris(uri)


def _retire(store: Store, run: Run, model_id: str) -> None:
    known = models(store)
    if model_id not in known:
        names = ", ".join(known) or "none"
        raise CommandError(f"{store.root} has no tables of a model {model_id}; it has: {names}")
    with Lock(store, model_id, run.run_id):
        retire(CommitLog(store, model_id), run)
    write_views(store)
