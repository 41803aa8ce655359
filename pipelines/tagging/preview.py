"""``tag --dry-run``: what a run would do now; writes nothing."""

from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.parquet_files import UnreadableError, read_columns
from pipelines.output.recordings import COLUMNS, recordings
from pipelines.output.recovery import require_log, require_tables
from pipelines.output.settings import check_settings
from pipelines.storage.store import Store, open_store
from pipelines.storage.uris import named_uri
from pipelines.tagging.cost import Cost, cost
from pipelines.tagging.job import TagJob
from pipelines.tagging.model import checked_model
from pipelines.tagging.place import warn_of_place
from pipelines.tagging.selection import listed, pending
from pipelines.tagging.staged_rows import left_out, output_settings
from tagger.errors import CommandError


@dataclass(frozen=True)
class Preview:
    """Clips listed, tagged before, given up before, and to do.

    Attributes
    ----------
    gone : URIs that are in ``clips`` and lie below the inputs, but are there no more; they stay
        in the tables
    n_forgotten : listed clips that stay out, because ``forget`` erased their recordings
    skipped : entries of the inputs that were passed over, by kind
    """

    n_listed: int
    n_tagged: int
    n_given_up: int
    n_to_do: int
    bytes_to_do: int
    gone: list[str]
    n_forgotten: int
    cost: Cost
    skipped: dict[str, int] = field(default_factory=dict)


def preview(job: TagJob) -> Preview:
    """What ``tag`` would do; CommandError and NoAudioError as ``tag`` raises them."""
    card = checked_model(job).card
    model_id = card.model_id
    settings = output_settings(job, card)
    clips, skipped, _ = listed(job)
    store = open_store(job.out, job.store_patience_s)
    try:
        begun = bool(store.list(layout.log(model_id))) or store.exists(layout.SETTINGS)
    except FileNotFoundError as error:
        raise CommandError(f"{store.root}: no such bucket: create it first") from error
    warn_of_place(job, store)
    commit_log = None
    if begun:
        check_settings(store, settings, left_out(job))
        commit_log = CommitLog(store, model_id)
        require_log(commit_log)
        require_tables(commit_log)
    todo, n_tagged, n_given_up, n_forgotten = pending(clips, commit_log, job)
    n_bytes = pc.sum(todo["size_bytes"]).as_py() or 0
    gone = _gone(job, store, model_id, clips)
    price = cost(todo, card, job, store)
    counts = len(clips), n_tagged, n_given_up, len(todo), n_bytes
    return Preview(*counts, gone, n_forgotten, price, skipped)


def _gone(job: TagJob, store: Store, model_id: str, clips: pa.Table) -> list[str]:
    """Tagged recordings of the listed folders and prefixes that were not listed, sorted."""
    found = []
    for path in store.list(layout.model_tables("clips", model_id)):
        with suppress(FileNotFoundError, UnreadableError):  # ``status --verify`` tells of these
            found.append(recordings(read_columns(store, path, COLUMNS)))
    uris = pa.chunked_array(found, pa.string()).unique()
    missing = uris.filter(pc.invert(pc.is_in(uris, value_set=clips["uri"].combine_chunks())))
    folders = tuple(f"{named_uri(text).rstrip('/')}/" for text in job.inputs)
    return sorted(uri for uri in missing.to_pylist() if uri.startswith(folders))
