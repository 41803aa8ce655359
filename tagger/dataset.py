"""Labelled clips: one table for every layout, checked before any training starts.

Columns of ``Dataset.clips``, one row per clip in metadata order:

    uri                where the clip is; local files as ``file://`` and the absolute path
    name               its name within the data set, the same on every machine, unique
    label              null for ignored test clips only; where clips may have several labels, the
                       label set as one text (``tagger.label_texts``)
    fold               whole number or null
    split              "train", "validation" or "test", as the data set itself has it
    usage              "Public", "Private", "Ignored" or null, of FSDKaggle2018's test clips
    manually_verified  true, false or null
    start_s, end_s     of a clip that is a stretch of its recording; null for its start and end
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

from tagger import label_set_layouts, label_texts, layouts
from tagger.arrays import BoolArray, IndexArray, LabelArray
from tagger.corrections import corrected, labelled
from tagger.errors import CommandError, OptionError
from tagger.labels import Labelling, LabelSet

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
    labelling : whether a clip has one label, or any number of them
    """

    layout: str
    labels: LabelSet
    clips: pd.DataFrame
    notes: tuple[str, ...] = ()
    labelling: Labelling = "one"

    def truth(self) -> LabelArray:
        """The labels of each clip.

        Class numbers, (n_clips,) int64, -1 for ignored test clips. Where clips may have several
        labels, their label sets, (n_clips, K) bool.
        """
        if self.labelling == "several":
            return self.label_sets()
        truth = np.full(len(self.clips), -1, np.int64)
        known = self.has_truth()
        truth[known] = self.labels.indices(self.clips["label"][known])
        return truth

    def label_sets(self) -> BoolArray:
        """Which labels each clip has, (n_clips, K); however many a clip may have."""
        sets = np.zeros((len(self.clips), len(self.labels)), np.bool_)
        known = np.flatnonzero(self.has_truth())
        texts = self.clips["label"].iloc[known]
        several = self.labelling == "several"
        names = [label_texts.from_text(text) if several else (text,) for text in texts]
        rows = np.repeat(known, [len(of_clip) for of_clip in names])
        sets[rows, self.labels.indices(name for of_clip in names for name in of_clip)] = True
        return sets

    def has_truth(self) -> BoolArray:
        """Whether it is known what each clip is, (n_clips,); not of ignored test clips."""
        return self.clips["label"].notna().to_numpy(np.bool_)

    def lacking(self, rows: IndexArray) -> list[str]:
        """The labels that none of the clips ``rows`` has."""
        n_clips = self.label_sets()[rows].sum(axis=0)
        return [name for name, n in zip(self.labels.names, n_clips, strict=True) if n == 0]

    def development(self) -> IndexArray:
        """Rows to train and validate on, (n,) int64 in metadata order: all but test clips."""
        return np.flatnonzero(self.clips["split"].to_numpy() != "test")

    def test(self) -> IndexArray:
        """Rows of the test clips that are scored, in metadata order: all but the ignored ones."""
        scored = (self.clips["split"] == "test") & (self.clips["usage"].fillna("") != IGNORED)
        return np.flatnonzero(scored.to_numpy())

    def fingerprint(self) -> str:
        """sha256, in hexadecimal, over name, label, fold, size, split and usage of each clip.

        And over start and end, where clips are stretches of recordings. It does not depend on where
        the data set lies.
        """
        columns = ["name", "label", "fold", "size_bytes", "split", "usage"]
        if self.clips.filter(["start_s", "end_s"]).notna().any(axis=None):
            columns += ["start_s", "end_s"]
        table = self.clips[columns].astype(object)
        rows = table.where(table.notna(), None).to_numpy().tolist()
        digest = hashlib.sha256(json.dumps([self.labels.names, rows]).encode())
        return digest.hexdigest()


def load(
    path: str | Path,
    *,
    layout: str | None = None,
    corrections: Sequence[str | Path] = (),
    labels: Labelling = "one",
    label_separator: str | None = None,
) -> Dataset:
    """Read and check a data set.

    Parameters
    ----------
    path : its folder, or a CSV of uri and label
    layout : a key of ``layouts.READERS``; None: it is detected. "esc10" finds ESC-10 within ESC-50
        too
    corrections : CSVs of uri and label, and of answer, if people answered (``tagger.corrections``);
        together they hold one label, or one label set, for each of their clips
    labels : whether a clip has one label or several
    label_separator : of CSVs, what is between the labels of a clip: see ``label_texts.as_sets``

    Raises
    ------
    CommandError : anything is wrong with it; the text names the clips
    """
    path = Path(path)
    layout = layout or layouts.detect(path)
    if layout not in layouts.READERS:
        raise CommandError(f"no layout {layout!r}; there are {', '.join(layouts.READERS)}")
    _check_labels(layout, labels, label_separator)
    raw, of_layout, notes = layouts.READERS[layout](path)
    label_texts.require_separator(path, raw["label"], label_separator)
    raw = _with_labels(raw, path, layout, labels, label_separator)
    if raw["answer"].any():
        raw, left_out = labelled(raw, path, labels)
        notes += left_out
    if corrections:
        raw, more = _corrected(raw, corrections, labels, label_separator)
        notes += more
    if raw.empty:
        raise CommandError(": ".join((f"{path}: there is no audio in it", *notes)))
    _refuse_rows(raw, path, labels)
    dataset = Dataset(
        layout, of_layout or _occurring(raw, path, labels), _typed(raw, path), notes, labels
    )
    empty = dataset.lacking(dataset.development())
    _refuse(path, "classes without clips to train on", empty)
    return dataset


def _check_labels(layout: str, labels: Labelling, separator: str | None) -> None:
    """OptionError where a layout, or one label a clip, leaves no choice."""
    if layout in label_set_layouts.READERS and labels == "one":
        raise OptionError("labels", f"must be several: clips of the layout {layout} have several")
    if separator is not None and (labels == "one" or layout != "csv"):
        raise OptionError("label_separator", "is for a CSV whose clips have several labels")
    if separator == "":
        raise OptionError("label_separator", "must not be empty")


def _with_labels(
    raw: pd.DataFrame, path: Path, layout: str, labels: Labelling, separator: str | None
) -> pd.DataFrame:
    """The raw table with one label a row, or with label sets."""
    try:
        if labels == "one":
            if layout == "csv":
                label_texts.require_one(raw["label"])
            return raw
        if layout in label_set_layouts.READERS:
            return raw
        if layout == "csv":
            answered = raw["answer"].any()  # one label a row
            sets = label_texts.as_sets(raw["label"], None if answered else separator)
            return raw.assign(label=sets)
    except CommandError as error:
        raise CommandError(f"{path}: {error}") from error
    return raw.assign(label=[label_texts.to_text([name]) if name else "" for name in raw["label"]])


def _refuse_rows(raw: pd.DataFrame, path: Path, labels: Labelling) -> None:
    """Refuse clips without a name or label, and those that are listed twice."""
    _refuse(path, "clips without a name", raw["uri"][raw["name"] == ""])
    places = _places(raw)
    twice = raw["name"].duplicated()
    differ = raw.groupby("name")["label"].transform("nunique") > 1
    hint = "a clip has one label" if labels == "one" else "put all labels of a clip into one row"
    what = f"clips listed more than once, with different labels ({hint})"
    _refuse(path, what, places[twice & differ])
    _refuse(path, "clips listed more than once", places[twice])
    unlabelled = (raw["label"] == "") & (raw["usage"] != IGNORED)
    hint = "" if labels == "one" else " (in JSON lists [] is a clip that has none)"
    _refuse(path, f"clips without a label{hint}", places[unlabelled])


def _occurring(raw: pd.DataFrame, path: Path, labels: Labelling) -> LabelSet:
    """The labels that occur."""
    texts = set(raw["label"]) - {""}
    if labels == "one":
        return LabelSet.of(sorted(texts))
    names = {name for text in texts for name in label_texts.from_text(text)}
    if not names:
        raise CommandError(f"{path}: no clip has a label")
    return LabelSet.of(sorted(names))


def _corrected(
    raw: pd.DataFrame,
    files: Sequence[str | Path],
    labels: Labelling,
    separator: str | None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The raw table with the corrections of some CSVs, and lines about them."""
    paths = [Path(file) for file in files]
    every = [
        _with_labels(layouts.READERS["csv"](path).raw, path, "csv", labels, separator)
        for path in paths
    ]
    together = pd.concat(every, ignore_index=True)
    for table in (raw, together):
        if (table["start_s"] + table["end_s"]).any():
            raise CommandError("corrections are of whole recordings, not of stretches")
    answers, left_out = labelled(together, ", ".join(map(str, files)), labels)
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
    for column in ("start_s", "end_s"):
        seconds = pd.to_numeric(raw[column], errors="coerce")
        wrong = (raw[column] != "") & ~(seconds.ge(0) & np.isfinite(seconds))
        _refuse(path, f"clips whose {column} is no number of seconds", places[wrong])
        clips[column] = seconds.astype("Float64")
    backwards = clips["end_s"] <= clips["start_s"].fillna(0)
    _refuse(path, "clips that end before they start", places[backwards.fillna(False)])
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
