"""Labelled clips: one table for every layout, checked before any training starts.

Columns of ``Dataset.clips``, one row per clip in metadata order:

    uri                where the clip is; local files as ``file://`` and the absolute path
    name               its name within the data set, the same on every machine, unique
    label              null for ignored test clips only
    fold               whole number or null
    split              "train", "validation" or "test", as the data set itself has it
    usage              "Public", "Private", "Ignored" or null, of FSDKaggle2018's test clips
    manually_verified  true, false or null
    license, source, author   where the clip comes from, or null
    size_bytes         of local files; null elsewhere
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from tagger import layouts
from tagger.arrays import IndexArray
from tagger.corrections import corrected, labelled
from tagger.errors import CommandError
from tagger.labels import LabelSet

IGNORED: Final = "Ignored"
_SPLITS: Final = ("train", "validation", "test")
_YES_NO: Final = {"1": True, "true": True, "0": False, "false": False}
_LOCAL: Final = "file://"


@dataclass(frozen=True)
class Dataset:
    """Clips and the labels they may have.

    Attributes
    ----------
    layout : a key of ``layouts.READERS``
    labels : in the order of their class numbers
    clips : one row per clip; the module lists the columns
    notes : lines about corrections, and what was left out
    """

    layout: str
    labels: LabelSet
    clips: pd.DataFrame
    notes: tuple[str, ...] = ()

    def truth(self) -> IndexArray:
        """Class of each clip, (n_clips,) int64; -1 for ignored test clips."""
        truth = np.full(len(self.clips), -1, np.int64)
        labelled = self.clips["label"].notna().to_numpy()
        truth[labelled] = self.labels.indices(self.clips["label"][labelled])
        return truth

    def development(self) -> IndexArray:
        """Rows to train and validate on, (n,) int64 in metadata order: all but test clips."""
        return np.flatnonzero(self.clips["split"].to_numpy() != "test")

    def test(self) -> IndexArray:
        """Rows of the test clips that are scored, in metadata order: all but the ignored ones."""
        scored = (self.clips["split"] == "test") & (self.clips["usage"].fillna("") != IGNORED)
        return np.flatnonzero(scored.to_numpy())

    def fingerprint(self) -> str:
        """sha256, in hexadecimal, over name, label, fold, size, split and usage of each clip.

        It does not depend on where the data set lies.
        """
        columns = ["name", "label", "fold", "size_bytes", "split", "usage"]
        table = self.clips[columns].astype(object)
        rows = table.where(table.notna(), None).to_numpy().tolist()
        digest = hashlib.sha256(json.dumps([self.labels.names, rows]).encode())
        return digest.hexdigest()


def load(
    path: str | Path, *, layout: str | None = None, corrections: Sequence[str | Path] = ()
) -> Dataset:
    """Read and check a data set.

    Parameters
    ----------
    path : its folder, or a CSV of uri and label
    layout : a key of ``layouts.READERS``; None: it is detected. "esc10" finds ESC-10 within ESC-50
        too
    corrections : CSVs of uri and label, and of answer, if people answered (``tagger.corrections``);
        together they hold one label for each of their clips

    Raises
    ------
    CommandError : anything is wrong with it; the text names the clips
    """
    path = Path(path)
    layout = layout or layouts.detect(path)
    if layout not in layouts.READERS:
        raise CommandError(f"no layout {layout!r}; there are {', '.join(layouts.READERS)}")
    raw, of_layout = layouts.READERS[layout](path)
    notes: tuple[str, ...] = ()
    if raw["answer"].any():
        raw, notes = labelled(raw, path)
    if corrections:
        raw, more = _corrected(raw, corrections)
        notes += more
    if raw.empty:
        raise CommandError(f"{path}: there is no audio in it")
    _refuse(path, "clips without a name", raw["uri"][raw["name"] == ""])
    places = _places(raw)
    twice = raw["name"].duplicated()
    _refuse(path, "clips listed more than once (a clip has one label)", places[twice])
    unlabelled = (raw["label"] == "") & (raw["usage"] != IGNORED)
    _refuse(path, "clips without a label", places[unlabelled])
    labels = of_layout or LabelSet.of(sorted(set(raw["label"]) - {""}))
    dataset = Dataset(layout, labels, _typed(raw, path), notes)
    present = set(dataset.truth()[dataset.development()])
    empty = [name for index, name in enumerate(labels.names) if index not in present]
    _refuse(path, "classes without clips to train on", empty)
    return dataset


def _corrected(
    raw: pd.DataFrame, files: Sequence[str | Path]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The raw table with the corrections of some CSVs, and lines about them."""
    every = [layouts.READERS["csv"](Path(file))[0] for file in files]
    answers, left_out = labelled(pd.concat(every, ignore_index=True), ", ".join(map(str, files)))
    raw, changed = corrected(raw, answers)
    return raw, (changed, *left_out)


def _typed(raw: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The raw table with types, nulls and sizes."""
    places = _places(raw)
    clips = raw.drop(columns="answer").astype("string").replace("", pd.NA)
    clips["split"] = clips["split"].fillna("train")
    unknown = ~clips["split"].isin(_SPLITS)
    _refuse(path, f"clips whose split is not one of {', '.join(_SPLITS)}", places[unknown])
    folds = clips["fold"].str.removesuffix(".0")  # as pandas writes columns with nulls
    broken = ~folds.str.fullmatch(r"\d+").fillna(True).astype(bool)
    _refuse(path, "clips whose fold is not a whole number", places[broken])
    clips["fold"] = folds.astype("Int64")
    verified = raw["manually_verified"].str.lower()
    unclear = ~verified.isin([*_YES_NO, ""])
    _refuse(path, "clips whose manually_verified is neither 0 nor 1", places[unclear])
    clips["manually_verified"] = verified.map(_YES_NO).astype("boolean")
    clips["size_bytes"] = pd.array([_size(uri) for uri in raw["uri"]], dtype="Int64")
    local = raw["uri"].str.startswith(_LOCAL) & (raw["usage"] != IGNORED)
    _refuse(path, "clips that are missing", places[local & clips["size_bytes"].isna()])
    return clips


def _places(raw: pd.DataFrame) -> "pd.Series[str]":
    """Where clips are, for people: whole paths of local files."""
    return raw["uri"].str.removeprefix(_LOCAL)


def _size(uri: str) -> int | None:
    try:
        return Path(uri.removeprefix(_LOCAL)).stat().st_size if uri.startswith(_LOCAL) else None
    except FileNotFoundError:
        return None


def _refuse(path: Path, what: str, which: Iterable[str]) -> None:
    """Raise ``CommandError`` if there are such clips or classes; names the first three."""
    which = list(which)
    if which:
        more = f" and {len(which) - 3} more" if len(which) > 3 else ""
        raise CommandError(f"{path}: {what}: {', '.join(which[:3])}{more}")
