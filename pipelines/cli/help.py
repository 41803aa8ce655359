"""The help texts: of the whole command line, and of one verb."""

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.cli.options import Option
from pipelines.cli.verb import Verb, description, example, options, summary

MODULE: Final = "python -m pipelines"
SCRIPT: Final = "archive-tagger"

MOST_COLUMNS: Final = 100
INDENT: Final = 26


def program() -> str:
    """How this process was called."""
    return SCRIPT if Path(sys.argv[0]).stem == SCRIPT else MODULE


def help_of_all(verbs: Mapping[str, type[Verb]]) -> str:
    """What there is."""
    lines = [
        f"usage: {program()} COMMAND [options]",
        "",
        "Tag archives of sound recordings, and train the models that do.",
        "",
        "commands:",
        *(_row(name, summary(verb), 14) for name, verb in verbs.items()),
        "",
        "options:",
        _row("--help", "Show this text; after a command, its options.", 14),
        _row("--version", "Show the version.", 14),
        "",
        f"Begin with: {program()} demo",
    ]
    return "\n".join(lines)


def help_of(name: str, verb: type[Verb], defaults: Mapping[str, Any]) -> str:
    """What a verb does, needs and leaves, its options in groups, and an example."""
    there_are = options(verb, defaults)
    paragraphs = (_wrap(text) for text in description(verb).split("\n\n"))
    parts = [_usage(name, there_are), *paragraphs, *_groups(there_are)]
    shown = example(verb).replace(MODULE, program())
    return "\n\n".join([*parts, "example:\n" + textwrap.indent(shown, "  ")])


def _usage(name: str, there_are: Sequence[Option]) -> str:
    """The form of a command: what stands in its place, and what is required."""
    words = [program(), name]
    for option in there_are:
        text = option.values if option.positional else f"{option.flag} {option.values}"
        if option.required:
            words.append(text)
        elif option.positional:
            words.append(f"[{text}]")
    return f"usage: {' '.join(words)} [options]"


def told(option: Option) -> str:
    """The help of an option, with its default."""
    if option.required:
        return f"{option.help} (required)"
    default = option.default_text
    return f"{option.help} (default: {default})" if default else option.help


def called(option: Option) -> str:
    """The flag of an option and what stands for its values."""
    space = "" if option.positional or option.values.startswith("[=") else " "
    return f"{'' if option.positional else option.flag}{space}{option.values}".strip()


def in_groups(there_are: Sequence[Option]) -> Iterator[tuple[str, str, list[Option]]]:
    """Title and further text of each group, and its options; the verb's own come first."""
    groups = list(dict.fromkeys(["", *(option.group for option in there_are)]))
    for group in groups:
        title, _, more = group.partition(". ")
        members = [option for option in there_are if option.group == group]
        yield title.rstrip(".") or "Options", more, members


def _groups(there_are: Sequence[Option]) -> Iterator[str]:
    for title, more, members in in_groups(there_are):
        lines = [f"{title.lower()}:"]
        if more:
            lines.append(_wrap(more, "  "))
        lines += [_row(called(option), told(option)) for option in members]
        yield "\n".join(lines)


def _row(name: str, text: str, indent: int = INDENT) -> str:
    """A name and its text beside it, or below where the name is long."""
    lines = _wrap(text, " " * indent)
    name = f"  {name}"
    if len(name) > indent - 2:
        return f"{name}\n{lines}"
    return name.ljust(indent) + lines[indent:]


def _wrap(text: str, indent: str = "") -> str:
    width = min(shutil.get_terminal_size().columns, MOST_COLUMNS)
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
