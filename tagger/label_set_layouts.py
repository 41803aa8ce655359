"""FSD50K and AudioSet, whose clips have any number of labels of AudioSet's ontology.

Their readers give label sets as ``label_texts`` has them.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from tagger.errors import CommandError
from tagger.label_texts import to_text
from tagger.labels import Label, LabelSet
from tagger.raw_tables import (
    RAW,
    Table,
    audio_files,
    first_place,
    freesound,
    raw_table,
    read_csv,
    uri_of,
)

_TRUTH: Final = "FSD50K.ground_truth"
_SPLITS: Final = {"train": "train", "val": "validation", "": "test"}  # as FSD50K has them
_CLASSES: Final = "class_labels_indices.csv"
_SEGMENTS: Final = "*segments*.csv"
_NUMBER: Final = re.compile(r"\d+(\.\d*)?", re.ASCII)
_AUDIO_NAME: Final = re.compile(r"Y?([\w-]{11})(?:_([\d.]+)(?:[_-][\d.]+)?)?", re.ASCII)
"""Of a video's or a segment's audio: the video, and perhaps start and end."""


def detect(root: Path) -> str | None:
    """The layout of a folder, a key of ``READERS``; None: neither."""
    if (root / _TRUTH / "dev.csv").is_file():
        return "fsd50k"
    return "audioset" if (root / _CLASSES).is_file() and any(root.glob(_SEGMENTS)) else None


def is_segments_csv(path: Path) -> bool:
    """Whether a file is a list of AudioSet's segments, by its comment."""
    with path.open("rb") as file:
        return any(line.startswith(b"# YTID") for line in file.readlines(1000))


def _fsd50k(root: Path) -> Table:
    """FSD50K: ``FSD50K.ground_truth``, ``FSD50K.dev_audio`` and, to test on, ``eval_audio``."""
    vocabulary = _rows(root / _TRUTH / "vocabulary.csv", 3)
    labels = LabelSet(tuple(Label(name, mid) for _, name, mid in vocabulary))
    parts = [_fsd50k_part(root, "dev")]
    if (root / _TRUTH / "eval.csv").is_file():
        parts.append(_fsd50k_part(root, "eval"))
    return Table(pd.concat(parts, ignore_index=True), labels)


def _fsd50k_part(root: Path, part: str) -> pd.DataFrame:
    table = read_csv(root / _TRUTH / f"{part}.csv", ["fname", "labels"])
    audio = first_place(root, (f"FSD50K.{part}_audio",))
    if audio is None:
        raise CommandError(f"{root}: FSD50K without its folder FSD50K.{part}_audio")
    split = table["split"] if "split" in table else pd.Series("", table.index)
    if unknown := sorted({*split} - {*_SPLITS}):
        raise CommandError(f"{root}: FSD50K: {part}.csv has the split {unknown[0]!r}")
    table["split"] = split.map(_SPLITS)
    table["label"] = [to_text(text.split(",")) if text else "" for text in table["labels"]]
    table["source"] = freesound(table["fname"])
    table["name"] = table["fname"] + ".wav"
    table["uri"] = [uri_of(audio / name) for name in table["name"]]
    clips = _clips_info(root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
    for column, field in (("license", "license"), ("author", "uploader")):
        table[column] = [clips.get(fname, {}).get(field) or "" for fname in table["fname"]]
    return raw_table(table)


def _clips_info(path: Path) -> dict[str, dict[str, str]]:
    """Licence and uploader of FSD50K's clips; nothing where the file is not there."""
    try:
        clips: dict[str, dict[str, str]] = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise CommandError(f"{path}: cannot be read as JSON: {error}") from error
    return clips


def _audioset(path: Path) -> Table:
    """Segments of AudioSet: one list of them, or a folder's, of which ``eval`` tests.

    The audio is searched for below the folder: files named by the video alone, which may be the
    whole recording or its segment, or by the video, ``_`` and the start. Segments without audio are
    left out, since many videos are no longer there.
    """
    root, lists = (path, sorted(path.glob(_SEGMENTS))) if path.is_dir() else (path.parent, [path])
    if not (root / _CLASSES).is_file():
        raise CommandError(f"{root}: AudioSet without {_CLASSES}")
    names = {mid: name for _, mid, name in _rows(root / _CLASSES, 3) if mid != "mid"}
    files = _by_video(root)
    parts = [_segments(one, names, files, is_folder=path.is_dir()) for one in lists]
    raw = pd.concat(parts, ignore_index=True)
    missing = raw["uri"] == ""
    kept = raw[~missing].reset_index(drop=True)
    used = {name for text in kept["label"] for name in json.loads(text)}
    labels = tuple(Label(name, mid) for mid, name in names.items() if name in used)
    line = f"{path}: {int(missing.sum())} of {len(raw)} segments left out, whose audio is not there"
    return Table(kept, LabelSet(labels) if labels else None, (line,) if missing.any() else ())


def _segments(
    path: Path, names: dict[str, str], files: dict[tuple[str, str], Path], is_folder: bool
) -> pd.DataFrame:
    """The raw table of a list of segments; ``uri`` is empty where there is no audio."""
    rows = []
    for video, start_s, end_s, mids in _rows(path, 4):
        if unknown := [mid for mid in mids.split(",") if mid not in names]:
            raise CommandError(f"{path}: {video}: {unknown[0]!r} is not in {_CLASSES}")
        if not _NUMBER.fullmatch(start_s):
            raise CommandError(f"{path}: {video}: {start_s!r} is no number of seconds")
        whole, cut = files.get((video, "")), _cut_file(files, video, start_s)
        stretch = ("", "") if cut else (start_s, end_s)
        file = cut or whole
        rows.append(
            {
                "uri": uri_of(file) if file else "",
                "name": f"{video}_{start_s}",
                "label": to_text(names[mid] for mid in mids.split(",")),
                "split": "test" if is_folder and path.name.startswith("eval") else "train",
                "start_s": stretch[0],
                "end_s": stretch[1],
                "source": f"https://www.youtube.com/watch?v={video}",
            }
        )
    return pd.DataFrame(rows, columns=list(RAW), dtype=str).fillna("")


def _by_video(root: Path) -> dict[tuple[str, str], Path]:
    """The audio below a folder by video and start as its name has them, "" where it has none."""
    found = {}
    for path in audio_files(root):
        if match := _AUDIO_NAME.fullmatch(path.stem):
            found[match[1], match[2] or ""] = path
    return found


def _cut_file(files: dict[tuple[str, str], Path], video: str, start_s: str) -> Path | None:
    """The file that holds a segment alone: its name has the start in s or ms."""
    number = float(start_s)
    texts = {start_s, *(f"{number:{form}}" for form in ("g", ".0f", ".1f", ".3f"))}
    texts.add(f"{1000 * number:.0f}")
    return next((files[video, text] for text in sorted(texts) if (video, text) in files), None)


def _rows(path: Path, n_columns: int) -> Iterator[list[str]]:
    """The rows of a CSV without its comments; a space after a comma is none of a value's."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = (line for line in file if not line.startswith("#"))
            for row in csv.reader(lines, skipinitialspace=True):
                if row and len(row) != n_columns:
                    raise CommandError(
                        f"{path}: a row of {len(row)} values, not {n_columns}: {row}"
                    )
                if row:
                    yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{path}: cannot be read as CSV: {error}") from error


READERS: Final[dict[str, Callable[[Path], Table]]] = {"fsd50k": _fsd50k, "audioset": _audioset}
