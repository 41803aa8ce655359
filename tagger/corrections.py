"""What people answered about the tags of a model, read as labels: corrections.

A CSV with the columns ``uri``, ``label`` and ``answer``; a row is one answer about one clip:

right    the tag is right; ``label`` holds it
other    the tag is wrong; ``label`` holds the right one
wrong    the tag is wrong, and nobody said what is right
none     no label of the model is right

Rows without an answer are labels as they stand. Where clips may have several labels, a clip has all
those that are right, and none at all if that is what was answered; ``label`` then holds label sets
(``tagger.label_texts``).
"""

import os
from itertools import chain
from typing import Final

import pandas as pd

from tagger.errors import CommandError
from tagger.label_texts import from_text, to_text
from tagger.labels import Labelling

LABELS: Final = ("", "right", "other")
"""The answers that give a clip a label."""

ANSWERS: Final = (*LABELS, "wrong", "none")

_LOCAL: Final = "file://"


def labelled(
    raw: pd.DataFrame, path: object, labels: Labelling = "one"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The clips of a raw table that answers give a label, each once, and a line about the others.

    Parameters
    ----------
    raw : as ``layouts`` reads it
    path : of the file, for messages

    Raises
    ------
    CommandError : an answer is unknown, or answers about a clip contradict each other
    """
    answer = raw["answer"]
    if unknown := sorted({*answer} - {*ANSWERS}):
        known = ", ".join(filter(None, ANSWERS))
        raise CommandError(f"{path}: column answer: {unknown[0]!r} is not one of {known}")
    if labels == "several":
        raw = _joined(raw)
    _refuse_contradictions(raw[raw["answer"] != "wrong"], path)
    kept = raw[raw["answer"].isin(LABELS)].drop_duplicates("uri").reset_index(drop=True)
    n_left_out = raw["uri"].nunique() - len(kept)
    line = f"{path}: clips left out, since no answer says which label is right: {n_left_out}"
    return kept, (line,) if n_left_out else ()


def _joined(raw: pd.DataFrame) -> pd.DataFrame:
    """The rows with all that is right of a clip in each, and ``none`` as the empty set."""
    right = raw["answer"].isin(("right", "other"))
    sets = (
        raw[right]
        .groupby("uri")["label"]
        .agg(lambda texts: to_text(chain.from_iterable(map(from_text, texts))))
    )
    label = raw["label"].where(~right, raw["uri"].map(sets))
    none = raw["answer"] == "none"
    return raw.assign(label=label.mask(none, to_text(())), answer=raw["answer"].mask(none, "right"))


def corrected(raw: pd.DataFrame, corrections: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """A data set's raw table with corrections (``labelled``), and a line about what they changed.

    Clips of the data set take the corrected label and keep all else. The others are new ones to
    train on, dealt out to the data set's folds label by label.
    """
    place, known = corrections["uri"].map(_place), raw["uri"].map(_place)
    label_of = dict(zip(place, corrections["label"], strict=True))
    old = raw.assign(label=known.map(label_of).fillna(raw["label"]))
    new = corrections[~place.isin(known)].copy()
    new["name"] = "corrections/" + new["name"]
    if folds := sorted({*raw["fold"]} - {""}):
        for label in new["label"].unique():
            rows = new.index[(new["label"] == label) & (new["fold"] == "")]
            new.loc[rows, "fold"] = [folds[i % len(folds)] for i in range(len(rows))]
    n_changed = int((old["label"] != raw["label"]).sum())
    line = f"corrections: {n_changed} clips of the data set take another label, {len(new)} are new"
    return pd.concat([old, new], ignore_index=True), line


def _refuse_contradictions(raw: pd.DataFrame, path: object) -> None:
    by_clip = raw.groupby("uri", sort=False)["label"].unique()
    several = by_clip[by_clip.str.len() > 1]
    if len(several):
        clip = several.index[0].removeprefix(_LOCAL)
        labels = " and ".join(label or "none" for label in several.iloc[0])
        more = f", and {len(several) - 1} more such clips" if len(several) > 1 else ""
        raise CommandError(
            f"{path}: {clip} is both {labels}{more}; keep one answer about each, or let clips have "
            "several labels"
        )


def _place(uri: str) -> str:
    """What is equal for two names of one file."""
    return os.path.realpath(uri.removeprefix(_LOCAL)) if uri.startswith(_LOCAL) else uri
