"""What a listing passes over: counted by kind, told in a line, each named under ``--verbose``."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

KINDS: Final = {
    "suffix": "without a suffix of audio",
    "sidecar": "AppleDouble",
    "git": "folders of Git",
    "link": "links",
    "broken_link": "broken links",
    "special": "pipes, sockets or devices",
    "unreadable": "unreadable",
    "too_long": "of too long a path",
    "vanished": "gone meanwhile",
    "duplicate": "named twice",
}
"""The kinds, and what a person is told of them.

    suffix       no suffix of ``AUDIO_SUFFIXES``; not named, since there may be more than recordings
    sidecar      what macOS keeps beside a file, see ``pipelines.inputs.sidecars``
    git          a folder ``.git``: what is in it has a name outside
    link         leads out of the folder, or to a folder; if followed, to one that was walked
    broken_link  leads to nothing, below a file, or to itself
    special      no file and no folder
    unreadable   a folder that may not be listed, a file that may not be looked at
    too_long     the path is longer than the system takes (4,095 bytes on Linux)
    vanished     was removed while the listing was made
    duplicate    named twice, by one name; not named either
"""

MOST_WARNINGS: Final = 3
"""Unreadable entries that are warned of; all are counted."""

_log = logging.getLogger(__name__)


class Skipped(Counter[str]):
    """How many entries of each kind were passed over."""

    def note(self, kind: str, name: str) -> None:
        """Count one entry, and name it to those who want to know."""
        self[kind] += 1
        _log.info("passed over %r: %s", name, kind)
        if kind == "unreadable" and self[kind] <= MOST_WARNINGS:
            _log.warning("%r may not be read and is passed over", name)


def in_words(skipped: Mapping[str, int]) -> str:
    """What was passed over, in one line: ``2 links, 1 unreadable``; "nothing" if nothing was."""
    kinds = [*KINDS, *(skipped.keys() - KINDS.keys())]
    told = (f"{skipped[kind]:,} {KINDS.get(kind, kind)}" for kind in kinds if skipped.get(kind))
    return ", ".join(told) or "nothing"
