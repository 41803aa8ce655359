"""Small table files merged into large ones, and with them the entries of the log.

Each run leaves at least one entry, and for it a file per table. Neighbouring entries are merged
until one stands for ``MERGED_CLIPS`` clips or for ``MERGED_ROWS`` rows of a table; its table files
are cut at ``rewriting.FILE_BYTES``. An entry that is half as large already is left alone, so that
large ones are not written again and again. How that is done safely is told in ``rewriting``.
"""

from fractions import Fraction
from functools import partial
from typing import Final

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Run
from pipelines.output.markers import read_marker
from pipelines.output.publication import publish
from pipelines.output.recovery import recover, require_log, require_tables
from pipelines.output.rewriting import remove_emptied, rewrite
from pipelines.storage.parallel import in_parallel

MERGED_CLIPS: Final = 250_000
"""Clips, tagged or failed, of one entry: what ``status --verify`` holds in memory at a time."""

MERGED_ROWS: Final = 2_500_000
"""Rows that one entry has in a table; of embeddings these are 1.3 GB."""


def compact(commit_log: CommitLog, run: Run) -> int:
    """Merge what is small.

    Returns
    -------
    Files without rows that are left for another time (``rewriting`` says why).

    Raises
    ------
    CommandError : table files are missing
    """
    store, model_id = commit_log.store, commit_log.model_id
    require_log(commit_log)
    recover(commit_log, run, partial(publish, store, model_id))
    require_tables(commit_log)
    sizes: dict[int, Fraction] = {}
    while group := _group(commit_log, sizes):
        entry = rewrite(commit_log, run, in_parallel(commit_log.entry, group))
        if entry is not None:
            publish(store, model_id, entry)
    return remove_emptied(store, model_id, commit_log.numbers())


def _group(commit_log: CommitLog, sizes: dict[int, Fraction]) -> list[int]:
    """The first neighbours that are worth merging; none when all is done.

    Parameters
    ----------
    sizes : by number, as a fraction of the most that an entry stands for; filled as needed
    """
    numbers = commit_log.numbers()
    unknown = [number for number in numbers if number not in sizes]
    sizes |= zip(unknown, in_parallel(partial(_size, commit_log), unknown), strict=True)
    group: list[int] = []
    filled = Fraction(0)
    for number in numbers:
        is_small = sizes[number] <= Fraction(1, 2)
        if is_small and filled + sizes[number] <= 1:
            group.append(number)
            filled += sizes[number]
            continue
        if len(group) > 1:
            break
        group, filled = ([number], sizes[number]) if is_small else ([], Fraction(0))
    return group if len(group) > 1 else []


def _size(commit_log: CommitLog, number: int) -> Fraction:
    """How large an entry is; one that is not published cannot be merged, as if it were full."""
    marker = read_marker(commit_log.store, commit_log.model_id, number)
    if marker is None:
        return Fraction(1)
    n_clips = marker.rows.get("clips", 0) + marker.rows.get("failures", 0)
    n_rows = max(marker.rows.values(), default=0)
    return max(Fraction(n_clips, MERGED_CLIPS), Fraction(n_rows, MERGED_ROWS))
