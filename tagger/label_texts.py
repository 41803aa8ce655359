"""Texts that list the labels of a clip, and back.

What separates labels is told and never guessed. Beyond the file that lists them a label set is one
text: a JSON list of its labels, sorted; ``[]`` for a clip that has none of them.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Final

from tagger.errors import CommandError
from tagger.labels import holds_several

JSON: Final = "json"
"""The separator of texts that are JSON lists."""


def to_text(names: Iterable[str]) -> str:
    """A label set as one text."""
    return json.dumps(sorted(set(names)), ensure_ascii=False)


def from_text(text: str) -> tuple[str, ...]:
    """The label set of a text that ``to_text`` made."""
    return tuple(json.loads(text))


def as_sets(texts: Iterable[str], separator: str | None) -> list[str]:
    """Texts that list labels as label sets, each one text; an empty one stays.

    Parameters
    ----------
    texts : of a label column
    separator : what is between labels, or ``JSON``; None: each text is one label

    Raises
    ------
    CommandError : a text lists an empty label, is no JSON list, or separates labels otherwise
    """
    every = list(texts)
    lists = {text: _split(text, separator) for text in dict.fromkeys(every) if text}
    for text, names in lists.items():
        if not all(names):
            raise CommandError(f"column label: {text!r} lists a label without a name")
    if several := holds_several(name for names in lists.values() for name in names):
        apart = "" if separator is None else f" after it was separated at {separator!r}"
        raise CommandError(
            f"column label: {several!r} is more than one label{apart}: tell what separates labels, "
            "the same everywhere"
        )
    return [to_text(lists[text]) if text else "" for text in every]


def require_separator(path: object, texts: Iterable[str], separator: str | None) -> None:
    """Refuse the label column of a file in which no text lists several labels as told.

    Raises
    ------
    CommandError : the separator is in none of them
    """
    if separator not in (None, JSON) and not any(separator in text for text in texts):
        raise CommandError(
            f"{path}: column label: no text has the separator {separator!r}; leave it out if each "
            "is one label"
        )


def require_one(texts: Iterable[str]) -> None:
    """Refuse texts that list several labels.

    Raises
    ------
    CommandError : one does
    """
    if several := holds_several(texts):
        raise CommandError(
            f"column label: {several!r} is more than one label: tell that clips have several and "
            "what separates them, or give each clip one"
        )


def _split(text: str, separator: str | None) -> Sequence[str]:
    if separator is None:
        return (text.strip(),)
    if separator != JSON:
        return [part.strip() for part in text.split(separator)]
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CommandError(
            f'column label: {text!r} is no JSON list of labels, such as ["dog", "rain"]'
        )
    return [name.strip() for name in names]
