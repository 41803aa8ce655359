"""What goes to standard error: lines for people, or a JSON object in each line for collectors.

Either way a message is made visible (``pipelines.runtime.visible``): names that are in it can end
no line and steer no terminal, also that of whoever reads the collector's.
"""

import io
import json
import logging
import sys
import threading
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any, Final, Literal, TextIO

from pipelines.runtime import standard_streams
from pipelines.runtime.log_context import current_run
from pipelines.runtime.signals import set_last_line
from pipelines.runtime.visible import visible, visible_json
from pipelines.storage.redaction import redacted

LogFormat = Literal["text", "json"]

_OBJECT: Final = '{"time": '
_ERROR: Final = "error: "
"""Begins the line in which a command tells why it ended."""


def format_in(words: Sequence[str]) -> LogFormat:
    """The format that a command line asks for; known before the line is found to be right."""
    asked = ("--log-format", "json") in pairwise(words) or "--log-format=json" in words
    return "json" if asked else "text"


def configure(verbose: bool, log_format: LogFormat = "text") -> None:
    """Set up, for the life of the process, what the program tells on standard error.

    As JSON this holds for whatever Python writes there, also at the very end.

    Parameters
    ----------
    verbose : tell also what is going well
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_TextFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("pipelines").setLevel(logging.INFO if verbose else logging.WARNING)
    if log_format == "json" and sys.stderr is not None:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonFormatter())
        logging.getLogger().handlers = [handler]
        sys.stderr = JsonLines(sys.stderr)
        set_last_line(partial(json_line, "ERROR", "pipelines"))


def tell_traceback(error: BaseException) -> None:
    """Where an error came from, for whoever asked for more."""
    standard_streams.tell(_indented("".join(traceback.format_exception(error))) + "\n")


def json_line(level: str, logger: str, message: str, at: datetime | None = None) -> str:
    """One line for a log collector.

    Parameters
    ----------
    at : None: now
    """
    said = {
        "time": (at or datetime.now(UTC)).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": "\n".join(map(visible, message.split("\n"))),
        "run_id": current_run(),
    }
    return json.dumps(said, ensure_ascii=False) + "\n"


class JsonLines(io.TextIOBase):
    """A text stream on which every line that is written becomes a JSON object.

    So the progress line, the line of an error, and warnings of libraries are told as log records.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = threading.local()  # threads write their lines in pieces

    def write(self, text: str) -> int:
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in filter(str.strip, lines):
            self._stream.write(_of_line(line))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


def _of_line(line: str) -> str:
    if line.startswith(_OBJECT):  # of a job that was submitted
        return visible_json(line) + "\n"
    if line.startswith(_ERROR):
        return json_line("ERROR", "pipelines", line.removeprefix(_ERROR))
    return json_line("INFO", "pipelines", line)


def _indented(text: str) -> str:
    """A traceback whose lines can be taken for none of ours, whatever a message in it holds."""
    return "\n  ".join(map(visible, redacted(text).rstrip().split("\n")))


def _said(record: logging.LogRecord, text: str) -> str:
    """What a record says; a library's may repeat secrets, ours hold none."""
    own = record.name.partition(".")[0] in ("pipelines", "tagger")
    return visible(text if own else redacted(text))


class _TextFormatter(logging.Formatter):
    """One line for a message, and one for each of a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return _said(record, super().formatMessage(record))

    def formatException(self, about: Any) -> str:  # noqa: N802
        return _indented(super().formatException(about))


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = _said(record, record.getMessage())
        if record.exc_info:
            message = f"{message}\n{redacted(self.formatException(record.exc_info))}"
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(record.levelname, record.name, message, at).rstrip("\n")
