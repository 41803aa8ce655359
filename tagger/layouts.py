"""How data sets lie on disk: each layout read into one raw table.

A raw table has the columns ``RAW`` as text, "" where there is nothing; ``tagger.dataset`` gives
them types and checks them. ``uri`` is absolute, ``name`` the same on every machine. Nothing here
looks at audio. Every mistake in a data set is a ``CommandError``.
"""

import os
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pandas as pd

from tagger.errors import CommandError
from tagger.labels import (
    ESC_10,
    ESC_10_OF_ESC_50,
    ESC_50,
    FSDKAGGLE2018,
    LabelSet,
    holds_several,
)
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
    "license",
    "source",
    "author",
)

Table = tuple[pd.DataFrame, LabelSet | None]
"""A raw table and the labels of the layout; ``None``: those that occur."""

# FSDKaggle2018 as Zenodo and as Kaggle pack it: metadata, then folders of audio.
_FSD_TRAIN: Final = (
    "FSDKaggle2018.meta/train_post_competition.csv",
    "train_post_competition.csv",
    "train.csv",
)
_FSD_TEST: Final = (
    "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
    "test_post_competition_scoring_clips.csv",
    "test_post_competition.csv",
)
_ESC_50_META: Final = ("meta/esc50.csv", "esc50.csv")


def detect(path: Path) -> str:
    """The layout of a data set: a key of ``READERS``.

    Raises
    ------
    CommandError : there is nothing at ``path``, or nothing that looks like a data set
    """
    if path.is_file():
        return "csv"
    if not path.is_dir():
        raise CommandError(f"{path}: no such data set")
    if _first(path, _FSD_TRAIN):
        return "fsdkaggle2018"
    if _first(path, _ESC_50_META):
        return "esc50"
    if (path / "meta.csv").is_file():
        return "esc10"
    if any(_class_folders(path)):
        return "folders"
    raise CommandError(
        f"{path}: no audio in folders per class, and no metadata of FSDKaggle2018, ESC-50 or ESC-10"
    )


def _fsdkaggle2018(root: Path) -> Table:
    """FSDKaggle2018; the clips that Kaggle's test only pads with are "Ignored" and unlabelled."""
    train_csv, test_csv = _first(root, _FSD_TRAIN), _first(root, _FSD_TEST)
    if train_csv is None:
        raise CommandError(f"{root}: FSDKaggle2018 without {' or '.join(_FSD_TRAIN)}")
    tables = [_fsd_part(root, train_csv, "train")]
    if test_csv is not None:
        tables.append(_fsd_part(root, test_csv, "test"))
    return pd.concat(tables, ignore_index=True), FSDKAGGLE2018


def _fsd_part(root: Path, csv: Path, split: str) -> pd.DataFrame:
    table = read_csv(csv, ["fname", "label"]).rename(columns={"fsID": "freesound_id"})
    table["name"], table["split"] = table["fname"], split
    audio = _first(root, (f"FSDKaggle2018.audio_{split}", f"audio_{split}"))
    if audio is None:
        raise CommandError(f"{root}: FSDKaggle2018 without its folder audio_{split}")
    table["uri"] = [_uri(audio / name) for name in table["name"]]
    raw = _raw(table)
    raw["source"] = _freesound(table.get("freesound_id", raw["source"]))
    raw.loc[raw["usage"] == "Ignored", "label"] = ""
    return raw


def _esc_50(root: Path) -> Table:
    return _esc_50_rows(root), ESC_50


def _esc_10(root: Path) -> Table:
    """ESC-10: ``meta.csv`` and ``audio/``, or the marked tenth of ESC-50 under ESC-10's names."""
    if _first(root, _ESC_50_META):
        rows = _esc_50_rows(root)
        rows = rows[rows["label"].isin(ESC_10_OF_ESC_50)].reset_index(drop=True)
        rows["label"] = rows["label"].map(ESC_10_OF_ESC_50)
        return rows, ESC_10
    table = read_csv(root / "meta.csv", ["fname", "fold", "label"])
    table["name"] = table["fname"]
    table["uri"] = [_uri(root / "audio" / name) for name in table["name"]]
    return _raw(table), ESC_10


def _esc_50_rows(root: Path) -> pd.DataFrame:
    csv = _first(root, _ESC_50_META)
    if csv is None:
        raise CommandError(f"{root}: ESC-50 without {' or '.join(_ESC_50_META)}")
    table = read_csv(csv, ["filename", "fold", "category"])
    table["name"], table["label"] = table["filename"], table["category"]
    table["uri"] = [_uri(root / "audio" / name) for name in table["name"]]
    raw = _raw(table)
    raw["source"] = _freesound(table.get("src_file", raw["source"]))
    return raw


def _folders(root: Path) -> Table:
    """A folder per class, searched through; clips in the order of their names."""
    clips_of = {folder: _audio_files(folder) for folder in _subfolders(root)}
    empty = [folder.name for folder, clips in clips_of.items() if not clips]
    if empty:
        raise CommandError(f"{root}: classes without clips: {', '.join(empty)}")
    rows = [
        (_uri(clip), clip.relative_to(root).as_posix(), folder.name)
        for folder, clips in clips_of.items()
        for clip in clips
    ]
    return _raw(pd.DataFrame(rows, columns=["uri", "name", "label"], dtype=str)), None


def _csv(path: Path) -> Table:
    """A CSV of uri and label, and any other columns of ``RAW``; paths count from its folder.

    With a column answer it holds corrections (``tagger.corrections``).
    """
    table = read_csv(path, ["uri", "label"])
    if several := holds_several(table["label"]):
        raise CommandError(
            f"{path}: column label: {several!r} is more than one label, and clips with several are "
            "not supported; give each clip the label that fits best, or leave it out"
        )
    uris = [_located(uri, path.parent) for uri in table["uri"]]
    table["uri"] = uris
    folders = zip(*(uri.split("/")[:-1] for uri in uris), strict=False)
    depth = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, folders))
    table["name"] = ["/".join(uri.split("/")[depth:]) for uri in uris]
    return _raw(table), None


READERS: Final[dict[str, Callable[[Path], Table]]] = {
    "fsdkaggle2018": _fsdkaggle2018,
    "esc50": _esc_50,
    "esc10": _esc_10,
    "folders": _folders,
    "csv": _csv,
}


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


def _raw(table: pd.DataFrame) -> pd.DataFrame:
    return table.reindex(columns=list(RAW), fill_value="")


def _first(root: Path, places: tuple[str, ...]) -> Path | None:
    return next((root / place for place in places if (root / place).exists()), None)


def _uri(path: Path) -> str:
    uri = f"file://{os.path.normpath(path.absolute())}"
    if any("\udc80" <= letter <= "\udcff" for letter in uri):  # as Python escapes other bytes
        raise CommandError(f"{str(path)!r}: the name is not UTF-8; rename it")
    return uri


def _located(uri: str, folder: Path) -> str:
    """The URI of a clip by its path or URI; one of a file may be percent-encoded."""
    if not uri or ("://" in uri and not uri.startswith("file://")):
        return uri
    if "://" not in uri:
        return _uri(folder / uri)
    path = uri.removeprefix("file://").removeprefix("localhost")
    return _uri(Path(path if os.path.lexists(path) else unquote(path)))


def _freesound(identifiers: "pd.Series[str]") -> "pd.Series[str]":
    return identifiers.map(lambda number: f"https://freesound.org/s/{number}/" if number else "")


def _subfolders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _audio_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
    )


def _class_folders(root: Path) -> list[Path]:
    return [folder for folder in _subfolders(root) if _audio_files(folder)]
