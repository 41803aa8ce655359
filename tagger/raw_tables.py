"""Raw tables of data sets, and what their readers have in common.

A raw table has the columns ``RAW`` as text, "" where there is nothing; ``tagger.dataset`` gives
them types and checks them. ``uri`` is absolute, ``name`` the same on every machine.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote

import pandas as pd

from tagger.errors import CommandError
from tagger.labels import LabelSet
from tagger.recording import AUDIO_SUFFIXES

RAW: Final = (
    "uri",
    "name",
    "label",
    "answer",
    "fold",
    "split",
    "usage",
    "manually_verified",
    "start_s",
    "end_s",
    "license",
    "source",
    "author",
)


class Table(NamedTuple):
    """What a reader finds.

    Attributes
    ----------
    raw : a raw table
    labels : of the layout; None: those that occur
    notes : lines about what was left out
    """

    raw: pd.DataFrame
    labels: LabelSet | None = None
    notes: tuple[str, ...] = ()


def read_csv(path: Path, required: list[str]) -> pd.DataFrame:
    """A CSV file (UTF-8, with a header) as a table of text.

    Parameters
    ----------
    required : columns that it must have

    Raises
    ------
    CommandError : it cannot be read, or lacks a column, or has one twice
    """
    try:
        rows = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        detail = " ".join(str(error).split())
        raise CommandError(f"{path}: cannot be read as CSV: {detail}") from error
    header = list(rows.iloc[0])
    table = rows[1:].reset_index(drop=True).set_axis(header, axis="columns")
    if twins := sorted({name for name in header if header.count(name) > 1}):
        raise CommandError(f"{path}: columns that stand twice: {', '.join(twins)}; rename one")
    missing = [column for column in required if column not in table]
    if missing:
        raise CommandError(
            f"{path}: no column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
    return table


def raw_table(table: pd.DataFrame) -> pd.DataFrame:
    """The columns ``RAW`` of a table; what it lacks is empty."""
    return table.reindex(columns=list(RAW), fill_value="")


def first_place(root: Path, places: tuple[str, ...]) -> Path | None:
    """The first of some places below a folder that exists."""
    return next((root / place for place in places if (root / place).exists()), None)


def uri_of(path: Path) -> str:
    """The URI of a local file.

    Raises
    ------
    CommandError : its name is not UTF-8
    """
    uri = f"file://{os.path.normpath(path.absolute())}"
    if any("\udc80" <= letter <= "\udcff" for letter in uri):  # as Python escapes other bytes
        raise CommandError(f"{str(path)!r}: the name is not UTF-8; rename it")
    return uri


def located(uri: str, folder: Path) -> str:
    """The URI of a clip by its path or URI; one of a file may be percent-encoded."""
    if not uri or ("://" in uri and not uri.startswith("file://")):
        return uri
    if "://" not in uri:
        return uri_of(folder / uri)
    path = uri.removeprefix("file://").removeprefix("localhost")
    return uri_of(Path(path if os.path.lexists(path) else unquote(path)))


def freesound(identifiers: "pd.Series[str]") -> "pd.Series[str]":
    """The pages of sounds on freesound.org, "" where there is no identifier."""
    return identifiers.map(lambda number: f"https://freesound.org/s/{number}/" if number else "")


def subfolders(root: Path) -> list[Path]:
    """The folders in a folder, but hidden ones, in the order of their names."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def audio_files(folder: Path) -> list[Path]:
    """The files below a folder whose suffix is that of audio, in the order of their names."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )
