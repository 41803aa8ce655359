"""Text that others wrote, made fit to be shown: file names, tags, what a store answers.

A name may hold what steers a terminal, ends a line, turns the direction of writing, or is not seen
at all. Whatever this program shows or logs passes through here, line by line, as it leaves.
"""

import json
import re
from collections.abc import Callable
from typing import Final

_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks that leave no trace, though Unicode does not call them control characters."""


def visible(line: str) -> str:
    r"""The text in one line, with ``\x1b`` and the like for whatever is not seen as itself."""
    return _escaped(line, lambda letter: ascii(letter)[1:-1])


def visible_json(text: str) -> str:
    r"""JSON that says the same, with ``\u001b`` and the like; ends of lines are kept."""
    lines = text.split("\n")
    return "\n".join(_escaped(line, lambda letter: json.dumps(letter)[1:-1]) for line in lines)


def _escaped(line: str, escape: Callable[[str], str]) -> str:
    if line.isprintable() and not _UNSEEN.search(line):
        return line
    return "".join(
        letter if letter.isprintable() and not _UNSEEN.match(letter) else escape(letter)
        for letter in line
    )
