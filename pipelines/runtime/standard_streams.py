"""Standard output and standard error, which may be closed or full, and whose reader may leave.

What a job *tells* is worth nothing to its tables: that it cannot be told changes nothing. What is
*put* is what a command was given for. A reader of it may leave, as ``head`` does, and misses
nothing; but what cannot be written, to a disk that is full, is an error.
"""

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

from tagger.errors import CommandError

INPUT: Final = 0
OUTPUT: Final = 1
ERROR: Final = 2


class OutputLost(CommandError):  # noqa: N818
    """Standard output does not take what a command was given for."""


def open_if_closed() -> None:
    """Send what is written nowhere, where a stream is closed.

    Else the first files that are opened get their descriptors, and whatever libraries say.
    """
    if sys.stdin is None:
        _open_nowhere(INPUT, os.O_RDONLY)
    if sys.stdout is None:
        _open_nowhere(OUTPUT, os.O_WRONLY)
        sys.stdout = os.fdopen(OUTPUT, "w", closefd=False)
    if sys.stderr is None:
        _open_nowhere(ERROR, os.O_WRONLY)
        sys.stderr = os.fdopen(ERROR, "w", closefd=False)


def put(text: str) -> bool:
    """Write to standard output at once; whether there still is a reader.

    Raises
    ------
    OutputLost : it cannot be written
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        return False
    except OSError as error:
        _give_up(sys.stdout)
        raise OutputLost(f"standard output cannot be written: {error.strerror}") from error
    return True


def tell(text: str, stream: TextIO | None = None) -> bool:
    """Write at once; whether there still is a reader.

    Parameters
    ----------
    stream : None: standard error as it is now
    """
    stream = stream or sys.stderr
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        _give_up(stream)
        return False
    return True


def flush() -> None:
    """Have what is left written; whether it can be must not change the exit code."""
    tell("", sys.stdout)
    tell("")


def _open_nowhere(descriptor: int, flags: int) -> None:
    nowhere = os.open(os.devnull, flags)
    if nowhere == descriptor:
        os.set_inheritable(descriptor, True)
    else:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _give_up(stream: TextIO) -> None:
    """Send what the stream still holds nowhere; else Python's exit code would tell of it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
