"""A model's own rows made anew from its embeddings, with all that this version writes.

Entry by entry: an entry that replaces it is appended, with the same clips and failures, the same
embeddings, and all else computed again (``pipelines.output.rewriting``). Killed anywhere, the rows
are the old or the new ones, and the same command makes them new.
"""

from collections import defaultdict
from functools import partial

import pyarrow as pa

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish, take_apart
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.rewriting import remove_emptied, rewrite
from pipelines.output.settings import complete
from pipelines.retagging.embedded import batches
from pipelines.retagging.rows import retagged
from pipelines.retagging.sources import Source
from pipelines.runtime.progress import Progress
from pipelines.storage.store import Store
from pipelines.tagging.staged_rows import RowSettings
from tagger import schema
from tagger.tagging import Tagger


def upgrade(store: Store, source: Source, tagger: Tagger, run: Run) -> int:
    """Make all rows of a model new, under the locks of the output; return how many clips.

    Raises
    ------
    CommandError : table files are gone, or were changed
    """
    log = CommitLog(store, source.model_id)
    publish_here = partial(publish, store, source.model_id)
    require_log(log)
    recover(log, run, publish_here)
    require_tables(log)
    settings = RowSettings(complete(store), source.model_id, run.run_id)
    done: set[int] = set()
    n_clips = 0
    with Progress("retagging", "clips", len(log.tagged())) as progress:
        while unseen := [number for number in log.numbers() if number not in done]:
            old = log.entry(unseen[0])
            made = _made(log, old, source, tagger, settings) if old.clip_ids else {}
            new = rewrite(log, run, [old], made=made) if made else old
            if new is None:  # another entry was appended meanwhile
                continue
            if made:
                publish_here(new)
            done.add(new.number)
            n_clips += len(old.clip_ids)
            progress.show(n_clips, "")
    remove_emptied(store, source.model_id, log.numbers())
    return n_clips


def _made(
    log: CommitLog, entry: Entry, source: Source, tagger: Tagger, settings: RowSettings
) -> dict[str, pa.Table]:
    """The tables of an entry that follow from its embeddings, by name."""
    dtype = settings.output.embedding_dtype
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    wanted = pa.array(entry.clip_ids, pa.string())
    fields = schema.tables(dtype)
    kept = [name for name in fields["clips"].names if name != "recorded_at"]  # a name may tell it
    for batch in batches(log, entry.number, source.extractors, dtype, wanted):
        rows = retagged(batch, tagger, settings, kept)
        for name, table in take_apart(rows, settings.output).items():
            if name not in ("embeddings", "failures"):
                parts[name].append(table)
    return {
        name: pa.concat_tables([fields[name].empty_table(), *tables])
        for name, tables in parts.items()
    }
