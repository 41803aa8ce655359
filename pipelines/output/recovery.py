"""What every command that writes does first: finish what others left, and look what is missing."""

from collections.abc import Callable
from typing import Final

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import rebuild
from pipelines.output.inventory import table_files
from pipelines.output.log_entry import Entry, Run
from pipelines.output.markers import mark
from pipelines.output.rewriting import remove_entries
from tagger.errors import CommandError

FILES_PER_RECOVERED_ENTRY: Final = 256


def recover(commit_log: CommitLog, run: Run, publish: Callable[[Entry], None]) -> list[Entry]:
    """Finish what earlier runs, or other drivers, left: publish, then commit and publish.

    Parameters
    ----------
    publish : publishes an entry and returns when that is done

    Returns
    -------
    The entries that ``publish`` was called for.
    """
    entries = commit_log.refresh()
    for entry in entries:
        publish(entry)
    named, waiting = commit_log.staged_leftovers()
    commit_log.store.remove(layout.staged(commit_log.model_id, file) for file in named)
    for start in range(0, len(waiting), FILES_PER_RECOVERED_ENTRY):
        made = commit_log.commit(run, waiting[start : start + FILES_PER_RECOVERED_ENTRY])
        if made is not None:
            publish(made)
            entries.append(made)
    _tidy(commit_log, run)
    return entries


def require_log(commit_log: CommitLog) -> None:
    """Compare the table files with the log, by number only, before anything is added to it.

    Raises
    ------
    CommandError : there are table files of entries that the log has lost, or never had
    """
    store, model_id = commit_log.store, commit_log.model_id

    def unknown() -> list[str]:
        files = table_files(store, model_id)
        return [path for path in files if layout.number_of_table(path) >= commit_log.next_number]

    if not unknown():
        return
    commit_log.refresh()  # another job may have added entries between the two looks
    if paths := unknown():
        what = "has lost its last entries" if commit_log.n_entries else "is missing"
        raise CommandError(
            f"{store.root}: the log of {model_id} {what}, for it does not name {paths[0]}: "
            f"{rebuild(store)}"
        )


def require_tables(commit_log: CommitLog) -> None:
    """Compare the table files with the log, by name only.

    Raises
    ------
    CommandError : files that the log counts on were removed
    """
    listed = {*table_files(commit_log.store, commit_log.model_id)}
    if commit_log.published_files() <= listed:
        return
    commit_log.refresh()  # rows may have been written anew between the two looks
    listed = {*table_files(commit_log.store, commit_log.model_id)}
    gone = sorted(commit_log.published_files() - listed)
    if gone:
        raise CommandError(
            f"{commit_log.store.root}: {len(gone)} table files that the log of "
            f"{commit_log.model_id} counts on are gone, such as {gone[0]}: restore them, or give "
            f"this model's tables up with `forget {commit_log.store.root} --model "
            f"{commit_log.model_id}`, and tag anew"
        )


def _tidy(commit_log: CommitLog, run: Run) -> None:
    """Remove what rewrites that were killed have left: entries, markers, and new files.

    Whoever wrote files that no entry names may still be about to append one. An empty entry keeps
    it from that, so the files can go.
    """
    store, model_id = commit_log.store, commit_log.model_id
    unnamed = store.list(layout.rewriting(model_id))
    if unnamed:
        mark(store, model_id, commit_log.fence(run).number, {})
    unpublished = commit_log.refresh()
    waiting = {file for entry in unpublished for file in entry.rewritten.values()}
    store.remove(path for path in unnamed if path.rpartition("/")[2] not in waiting)
    in_use = {number for entry in unpublished for number in entry.replaced()}
    remove_entries(store, model_id, sorted(commit_log.replaced_files - in_use))
