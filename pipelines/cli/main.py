"""``python -m pipelines VERB``: from the words of a command line to an exit code."""

import atexit
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

from pipelines.cli import logs
from pipelines.cli.exit_codes import Exit, exit_code
from pipelines.cli.help import help_of, help_of_all, program
from pipelines.cli.parsing import suggestion
from pipelines.cli.terminal import show_lines
from pipelines.cli.verb import Verb, in_words
from pipelines.cli.verbs import VERBS
from pipelines.runtime import session, standard_streams
from pipelines.runtime.signals import Interrupted, arrived, raise_on_signals
from pipelines.runtime.visible import visible
from pipelines.storage.errors import one_line
from tagger import __version__
from tagger.errors import CommandError, OptionError

__all__ = ["Exit", "main", "run"]

LONGEST_LINE: Final = 1000
SPIN_COUNT: Final = 1000
"""How often a thread of torch that waits looks again before it sleeps: some 50 µs. By default it
does so for some milliseconds, which keeps those it waits for from working on a busy machine: 128
patches on two threads, beside six other processes on two cores, took 17 s, and so 0.3 s."""

_HELP: Final = ("-h", "--help")


def run() -> NoReturn:
    """Carry out the command of this process and end it."""
    _begin_in_utf8()
    os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))  # read when torch is loaded
    standard_streams.open_if_closed()
    codes: list[int] = [Exit.DEFECT]
    atexit.register(_leave, codes)  # what is registered first is called last
    raise_on_signals()
    codes.append(main())
    sys.exit(codes[-1])


def _begin_in_utf8() -> None:
    """Begin the process again in Python's UTF-8 mode, where the locale has another encoding.

    The same words then name the same objects everywhere, and processes that this one starts follow.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 (this very command)


def _leave(codes: list[int]) -> NoReturn:
    """End the process with the last code, before Python takes itself down.

    Threads of Arrow may still be freeing what they have read out of Python's memory; they would
    then abort the process.
    """
    standard_streams.flush()
    os._exit(codes[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are in any script
    logs.configure("--verbose" in words, logs.format_in(words))
    name = words[0] if words else ""
    verb = VERBS.get(name)
    try:
        if verb is None:
            return _without_verb(name)
        if set(_HELP) & {*words}:
            show_lines(_help(name, verb, words[1:]).splitlines())
            return Exit.DONE
        return verb.of(verb.parse(words[1:])).run(words)
    except Exception as error:  # the one place where everything is caught: to tell it in a line
        if interrupt := arrived():
            _end_interrupted(interrupt)
        return _end(error, verb, "--verbose" in words)
    except Interrupted as interrupt:
        _end_interrupted(interrupt)


def _end_interrupted(interrupt: Interrupted) -> NoReturn:
    _say(str(interrupt))
    # Ray's shutdown may take longer than a scheduler waits; its processes end with this one.
    os._exit(interrupt.exit_code)


def _without_verb(word: str) -> Exit:
    if word in _HELP:
        show_lines(help_of_all(VERBS).splitlines())
        return Exit.DONE
    if word == "--version":
        show_lines([f"archive-tagger {__version__}"])
        return Exit.DONE
    if not word or word.startswith("-"):
        raise CommandError(f"a command comes first: {', '.join(VERBS)}; see {program()} --help")
    closest = suggestion(word, [*VERBS]) or f"; there are {', '.join(VERBS)}"
    raise CommandError(f"no command {word!r}{closest}")


def _help(name: str, verb: type[Verb], words: Sequence[str]) -> str:
    """The help with the defaults that follow from the options beside ``--help``."""
    defaults = {}
    with suppress(CommandError):
        defaults = verb.defaults(verb.parse([word for word in words if word not in _HELP]))
    return help_of(name, verb, defaults)


def _end(error: Exception, verb: type[Verb] | None, verbose: bool) -> Exit:
    """Tell of an error in one line; with a traceback if it is a defect and more is asked for."""
    code = exit_code(error)
    text = str(error)
    if isinstance(error, OptionError) and verb is not None:
        text = in_words(error, verb)
    elif code is Exit.DEFECT:
        at = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"a defect of this program: {type(error).__name__}"
        text = f"{kind}: {one_line(error)} ({Path(at.filename).name}:{at.lineno})"
        if verbose:
            logs.tell_traceback(error)
    if code in (Exit.DEFECT, Exit.CLUSTER_LOST) and (kept := session.keep()):
        text += f"; Ray's logs are kept in {kept}"
    _say(text)
    return code


def _say(text: str) -> None:
    line = visible(" ".join(text.split()))
    end = " …" if len(line) >= LONGEST_LINE else ""
    standard_streams.tell(f"error: {line[:LONGEST_LINE]}{end}\n")
