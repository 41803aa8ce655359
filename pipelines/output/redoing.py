"""The clips of an entry made new again, where its rows are lost.

An entry whose staged file was damaged after the commit can never be published, and table files that
were damaged after publication cannot be made anew. So an empty entry is appended that replaces it
(``rewriting``): what is there of its table files goes, and its clips, tagged or failed, count as
new. With the append it is decided; killed from there on, it is completed by the next command.
"""

import logging
from typing import Final

from pipelines.output import layout
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import DamagedFile, set_aside
from pipelines.output.log_entry import Entry, Run
from pipelines.output.staging import read_staged
from tagger.errors import CommandError

_log: Final = logging.getLogger(__name__)


def redo(commit_log: CommitLog, run: Run, number: int) -> Entry | None:
    """Append the entry that makes the clips of entry ``number`` new, to be published next.

    Returns
    -------
    The entry; None where that entry does not count any more, since it was replaced already.

    Raises
    ------
    CommandError : there never was such an entry
    """
    if number >= commit_log.next_number or number < 0:
        there = ", ".join(map(str, commit_log.numbers()[-10:])) or "none"
        raise CommandError(
            f"{commit_log.store.root}: {commit_log.model_id} has no entry {number} to do again; "
            f"its last entries are: {there}"
        )
    while number in commit_log:
        lost = commit_log.entry(number)
        _keep_what_is_damaged(commit_log, lost)
        voided = (staged.file for staged in lost.staged)
        replaced = [lost.number, *lost.replaced()]
        entry = Entry.empty(commit_log.next_number, run, voided, replaced)
        if commit_log.append(entry):
            _log.warning("entry %d is done again: %d clips", number, len(lost.clip_ids))
            return entry
    _log.warning("entry %d does not count any more: there is nothing to do again", number)
    return None


def _keep_what_is_damaged(commit_log: CommitLog, lost: Entry) -> None:
    """Move damaged staged files aside: nobody can tell what is in them, so nobody removes them."""
    for file, _, _ in lost.staged:
        try:
            read_staged(commit_log.store, commit_log.model_id, file)
        except FileNotFoundError:
            continue
        except DamagedFile as damaged:
            set_aside(commit_log.store, layout.staged(commit_log.model_id, file))
            _log.warning("%s: it is in %s now", damaged.line, layout.damaged(damaged.path))
