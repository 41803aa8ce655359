"""Reading a command line with tyro, into the options that were given.

tyro splits the line, converts values and knows choices. It is given every option as a field of one
flat class without defaults, since a command has to know which of its options were given: one that
was not may take its default from another, as the sizes of a network do from what it starts from.
What tyro finds wrong becomes an error of one line, through the hook that it has for this.
"""

import difflib
from collections.abc import Sequence
from dataclasses import field, make_dataclass
from functools import partial
from typing import Annotated, Any, Final

import tyro
from tyro import _errors as tyro_errors

from pipelines.cli.options import Option
from pipelines.storage.uris import refuse_credentials
from tagger.errors import CommandError, OptionError

_CONFIG: Final = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)


def parse(options: Sequence[Option], words: Sequence[str]) -> dict[str, Any]:
    """The options that a command line gives, by name of field.

    Raises
    ------
    CommandError : an option that does not exist, or a value that is none of its type
    """
    flat = make_dataclass("Given", [_flat(option) for option in options])
    bare = {o.flag: o.metadata["bare"] for o in options if o.choices and "bare" in o.metadata}
    words = [f"{word}={bare[word]}" if word in bare else word for word in words]
    with tyro_errors.on_parse_error(partial(_refuse, options)):
        found: Any = tyro.cli(flat, args=words, add_help=False, config=_CONFIG)
    values = [(option, getattr(found, option.name)) for option in options]
    return {option.name: _value(option, value) for option, value in values if _is_given(value)}


def suggestion(word: str, known: Sequence[str]) -> str:
    """``; did you mean X?`` where something known is close to a word."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _flat(option: Option) -> tuple[str, Any, Any]:
    """The option as tyro takes it, absent where it is not given."""
    takes_words = {"bare", "parse"} & {*option.metadata} and not option.choices
    kind: Any = tuple[str, ...] if takes_words else option.type
    absent = False if option.is_switch else None
    if absent is None:
        kind = kind | None
    how = tyro.conf.arg(name=option.flag.removeprefix("--"))
    if option.positional:
        how = tyro.conf.Positional
    return option.name, Annotated[kind, how], field(default=absent)


def _is_given(value: Any) -> bool:
    return value is not None and value is not False


def _value(option: Option, value: Any) -> Any:
    if option.is_switch:
        return option.default is not True
    if "bare" in option.metadata and not option.choices:
        if len(value) > 1:
            raise OptionError(option.name, f"takes {option.takes}, or none")
        return value[0] if value else option.metadata["bare"]
    if value == ():
        raise OptionError(option.name, f"takes {option.takes}")
    if "parse" in option.metadata:
        return tuple(option.metadata["parse"](text) for text in value)
    return value


def _refuse(options: Sequence[Option], event: tyro_errors.ParseErrorEvent) -> None:
    """Say in a line what tyro would say in a box."""
    if isinstance(event, tyro_errors.UnrecognizedArgs):
        word = event.tokens[0].partition("=")[0]
        if not word.startswith("-"):
            refuse_credentials(word, "the command")
            raise CommandError(f"{word!r} is more than this command takes")
        flags = [option.flag for option in options if not option.positional]
        raise CommandError(f"no option {word}{suggestion(word, flags)}")
    argument = getattr(event, "argument", None)
    for option in options:
        if argument is not None and argument.field.intern_name == option.name:
            raise OptionError(option.name, f"takes {option.takes}")
