"""Where the parts of an output lie. Every path in an output is built and parsed here.

    _output.json                                   settings that hold for all runs
    _log/<model_id>/00000042.json                  entry 42 of the log
    _log/<model_id>/00000042.published             its marker: the entry's tables are complete
    _staging/<model_id>/<random>-<hash>.parquet    rows of one batch, which wait for an entry
    _lock/<model_id>.json                          who is at work
    _runs/<run_id>.json                            record of a run; also in a work folder
    _rewriting/<model_id>/<random>-<hash>.parquet  rows on their way from old table files to new
    _forgotten/<run_id>.json                       recordings that one `forget` erased, as hashes
    _forgotten/key                                 what those hashes are keyed with
    _damaged/<path>                                a file that was found damaged, moved here
    <table>/model=<model_id>/run_date=YYYY-MM-DD/00000042-0.parquet
    views.sql                                      views over the tables

Names that begin with ``_`` lie outside the tables.
"""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

from tagger import schema

SETTINGS: Final = "_output.json"
RUNS: Final = "_runs"
LOGS: Final = "_log"
STAGING: Final = "_staging"
LOCKS: Final = "_lock"
REWRITING: Final = "_rewriting"
FORGOTTEN: Final = "_forgotten"
FORGOTTEN_KEY: Final = f"{FORGOTTEN}/key"
DAMAGED: Final = "_damaged"
VIEWS: Final = "views.sql"

_TOP: Final = frozenset({*schema.tables("float32"), VIEWS})
_ENTRY: Final = ".json"
_ROWS: Final = ".parquet"
_MARKER: Final = ".published"
_IN_LOG: Final = re.compile(rf"{LOGS}/[^/]+/(\d{{8}})({_ENTRY}|{_MARKER})", re.ASCII)


class TableFile(NamedTuple):
    """One file of a table: ``part`` of the rows of ``entry``.

    ``run_date`` is that of the run, and in a merged file that of the last run in it.
    """

    table: str
    model_id: str
    run_date: str
    entry: int
    part: int

    @property
    def path(self) -> str:
        folder = f"{model_tables(self.table, self.model_id)}/run_date={self.run_date}"
        return f"{folder}/{self.entry:08d}-{self.part}{_ROWS}"

    @classmethod
    def parse(cls, path: str) -> Self:
        """Raises ValueError for a path that is not one of a table file."""
        table, model, date, name = path.split("/")
        entry, part = map(int, name.removesuffix(_ROWS).split("-"))
        found = cls(
            table, model.removeprefix("model="), date.removeprefix("run_date="), entry, part
        )
        if found.path != path or table not in schema.tables("float32"):
            raise ValueError(f"{path} is no file of a table")
        return found


def is_foreign(name: str) -> bool:
    """Whether a name right below an output, of a folder with a slash, is none of an output's."""
    return not name.startswith(("_", ".")) and name.rstrip("/") not in _TOP


def model_tables(table: str, model_id: str) -> str:
    """The folder of a table's files of one model."""
    return f"{table}/model={model_id}"


def is_table_file(path: str) -> bool:
    """Whether a path below a table's folder is one of its files."""
    return path.endswith(_ROWS)


def table_of(path: str) -> str:
    """The table that a path of a table file belongs to."""
    return path.split("/")[0]


def model_of_table(path: str) -> str:
    """The model that a path of a table file belongs to."""
    return path.split("/")[1].removeprefix("model=")


def number_of_table(path: str) -> int:
    """The entry that a path of a table file belongs to; -1 for a file of another origin."""
    try:
        return TableFile.parse(path).entry
    except ValueError:
        return -1


def date_of_table(path: str) -> str:
    """The ``run_date`` of the partition that a path below a table's folder belongs to."""
    return path.split("/")[2].removeprefix("run_date=")


def models_below(paths: Iterable[str]) -> set[str]:
    """The models that paths below ``LOGS``, ``STAGING``, ``REWRITING`` or ``LOCKS`` belong to."""
    parts = (path.split("/") for path in paths)
    return {found[1].removesuffix(_ENTRY) for found in parts if len(found) > 2 or found[0] == LOCKS}


def models_of(path: str) -> set[str]:
    """Names of models that a path, wherever below the output, may belong to."""
    return {part.removeprefix("model=") for part in path.split("/")}


def log(model_id: str) -> str:
    """The folder of a model's log."""
    return f"{LOGS}/{model_id}"


def entry(model_id: str, number: int) -> str:
    """An entry of the log."""
    return f"{log(model_id)}/{number:08d}{_ENTRY}"


def marker(model_id: str, number: int) -> str:
    """The marker that says that an entry is published."""
    return f"{log(model_id)}/{number:08d}{_MARKER}"


class LogFiles(NamedTuple):
    """The numbers that a log holds, and paths of files that are no part of a log."""

    entries: list[int]
    published: set[int]
    foreign: list[str]

    @classmethod
    def parse(cls, paths: Iterable[str]) -> Self:
        """From the paths of all files of a log."""
        found = cls([], set(), [])
        for path in paths:
            match = _IN_LOG.fullmatch(path)
            if match is None:
                found.foreign.append(path)
            elif match[2] == _ENTRY:
                found.entries.append(int(match[1]))
            else:
                found.published.add(int(match[1]))
        found.entries.sort()
        return found


def staging(model_id: str) -> str:
    """The folder of a model's staged files."""
    return f"{STAGING}/{model_id}"


def staged(model_id: str, file: str) -> str:
    """A staged file."""
    return f"{staging(model_id)}/{file}"


def rewriting(model_id: str) -> str:
    """The folder of rows on their way from old table files of a model to new ones."""
    return f"{REWRITING}/{model_id}"


def rewritten(model_id: str, file: str) -> str:
    """A file that an entry's ``rewritten`` names."""
    return f"{rewriting(model_id)}/{file}"


def lock(model_id: str) -> str:
    """The lock of a model's tables."""
    return f"{LOCKS}/{model_id}{_ENTRY}"


def run_record(run_id: str) -> str:
    """The record of a run."""
    return f"{RUNS}/{run_id}.json"


def forgotten(run_id: str) -> str:
    """What a ``forget`` command erased."""
    return f"{FORGOTTEN}/{run_id}.json"


def probe(name: str) -> str:
    """A file that is written and removed to learn what the store can do."""
    return f"_probe/{name}"


def damaged(path: str) -> str:
    """Where a damaged file is moved to."""
    return f"{DAMAGED}/{path}"
