"""Standard error, which may be closed, and whose reader may leave: neither is a job's failure."""

import os
import sys
from contextlib import suppress
from typing import Final, TextIO

DESCRIPTOR: Final = 2


def open_if_closed() -> None:
    """Send what is written nowhere, where standard error is closed.

    Else the first file that is opened gets its descriptor, and whatever libraries say.
    """
    if sys.stderr is None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, DESCRIPTOR)
        sys.stderr = os.fdopen(DESCRIPTOR, "w", closefd=False)


def write(text: str, stream: TextIO | None = None) -> bool:
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


def _give_up(stream: TextIO) -> None:
    """Send what the stream still holds nowhere; else Python's exit code would tell of it."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
