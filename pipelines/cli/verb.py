"""What every verb of the command line has: options, a help text, and a way to carry it out."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pipelines.cli.exit_codes import Exit
from pipelines.cli.logs import LogFormat
from pipelines.cli.options import Option, build, options_of
from pipelines.cli.parsing import parse
from tagger.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class EveryVerb:
    """Options of every verb."""

    verbose: bool = False
    """Tell more on standard error: what is tried again and why, and where a defect lies."""

    log_format: LogFormat = "text"
    """How standard error is written: text for people, or json for log collectors, one object in
    each line with time, level, logger, message and run_id."""


class Verb(ABC):
    """One command that was given; a dataclass, whose fields are its options.

    The docstring of each verb is its help: a line that says what it does, a paragraph that begins
    with "Needs", one that begins with "Leaves", and an example.
    """

    @classmethod
    def parse(cls, words: Sequence[str]) -> dict[str, Any]:
        """The options that the words after the verb give, by name of field.

        Raises
        ------
        CommandError : an option that does not exist, or a value that is none of its type
        """
        return parse(options(cls), words)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The verb with the options that were given, by name of field; others have defaults.

        Raises
        ------
        CommandError : an option is missing, or has a value that it cannot have
        """
        verb: Self = build(cls, given, cls.defaults(given))
        return verb

    @classmethod
    def defaults(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Defaults that depend on what was given, by name of field."""
        return {}

    @abstractmethod
    def run(self, command: list[str]) -> Exit:
        """Carry it out; ``command`` is the verb and its flags, for the records."""


def options(verb: type[Verb], defaults: Mapping[str, Any] | None = None) -> list[Option]:
    """The options of a verb, those of every verb last."""
    return [*options_of(verb, defaults), *options_of(EveryVerb)]


def summary(verb: type[Verb]) -> str:
    """What a verb does, in a line."""
    return inspect.cleandoc(verb.__doc__ or "").partition("\n")[0]


def description(verb: type[Verb]) -> str:
    """What it does, needs and leaves, in paragraphs."""
    return inspect.cleandoc(verb.__doc__ or "").partition("\n\nExample::")[0]


def example(verb: type[Verb]) -> str:
    """A command, of one line or more."""
    return inspect.cleandoc(inspect.cleandoc(verb.__doc__ or "").partition("\n\nExample::\n")[2])


def in_words(error: OptionError, verb: type[Verb]) -> str:
    """What is wrong with an option, called as the command line calls it."""
    flags = {option.name: option.flag for option in options(verb)}
    return f"{flags.get(error.option, error.option)} {error.problem}"
