"""How data sets lie on disk: each layout read into one raw table.

Nothing here looks at audio. Every mistake in a data set is a ``CommandError``.
"""

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Final

import pandas as pd

from tagger import label_set_layouts
from tagger.errors import CommandError
from tagger.labels import ESC_10, ESC_10_OF_ESC_50, ESC_50, FSDKAGGLE2018
from tagger.raw_tables import (
    Table,
    audio_files,
    first_place,
    freesound,
    located,
    raw_table,
    read_csv,
    subfolders,
    uri_of,
)

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
        return "audioset" if label_set_layouts.is_segments_csv(path) else "csv"
    if not path.is_dir():
        raise CommandError(f"{path}: no such data set")
    if layout := label_set_layouts.detect(path):
        return layout
    if first_place(path, _FSD_TRAIN):
        return "fsdkaggle2018"
    if first_place(path, _ESC_50_META):
        return "esc50"
    if (path / "meta.csv").is_file():
        return "esc10"
    if any(_class_folders(path)):
        return "folders"
    raise CommandError(
        f"{path}: no audio in folders per class, and no metadata of FSDKaggle2018, ESC-50, ESC-10, "
        "FSD50K or AudioSet"
    )


def _fsdkaggle2018(root: Path) -> Table:
    """FSDKaggle2018; the clips that Kaggle's test only pads with are "Ignored" and unlabelled."""
    train_csv, test_csv = first_place(root, _FSD_TRAIN), first_place(root, _FSD_TEST)
    if train_csv is None:
        raise CommandError(f"{root}: FSDKaggle2018 without {' or '.join(_FSD_TRAIN)}")
    tables = [_fsd_part(root, train_csv, "train")]
    if test_csv is not None:
        tables.append(_fsd_part(root, test_csv, "test"))
    return Table(pd.concat(tables, ignore_index=True), FSDKAGGLE2018)


def _fsd_part(root: Path, csv: Path, split: str) -> pd.DataFrame:
    table = read_csv(csv, ["fname", "label"]).rename(columns={"fsID": "freesound_id"})
    table["name"], table["split"] = table["fname"], split
    audio = first_place(root, (f"FSDKaggle2018.audio_{split}", f"audio_{split}"))
    if audio is None:
        raise CommandError(f"{root}: FSDKaggle2018 without its folder audio_{split}")
    table["uri"] = [uri_of(audio / name) for name in table["name"]]
    raw = raw_table(table)
    raw["source"] = freesound(table.get("freesound_id", raw["source"]))
    raw.loc[raw["usage"] == "Ignored", "label"] = ""
    return raw


def _esc_50(root: Path) -> Table:
    return Table(_esc_50_rows(root), ESC_50)


def _esc_10(root: Path) -> Table:
    """ESC-10: ``meta.csv`` and ``audio/``, or the marked tenth of ESC-50 under ESC-10's names."""
    if first_place(root, _ESC_50_META):
        rows = _esc_50_rows(root)
        rows = rows[rows["label"].isin(ESC_10_OF_ESC_50)].reset_index(drop=True)
        rows["label"] = rows["label"].map(ESC_10_OF_ESC_50)
        return Table(rows, ESC_10)
    table = read_csv(root / "meta.csv", ["fname", "fold", "label"])
    table["name"] = table["fname"]
    table["uri"] = [uri_of(root / "audio" / name) for name in table["name"]]
    return Table(raw_table(table), ESC_10)


def _esc_50_rows(root: Path) -> pd.DataFrame:
    csv = first_place(root, _ESC_50_META)
    if csv is None:
        raise CommandError(f"{root}: ESC-50 without {' or '.join(_ESC_50_META)}")
    table = read_csv(csv, ["filename", "fold", "category"])
    table["name"], table["label"] = table["filename"], table["category"]
    table["uri"] = [uri_of(root / "audio" / name) for name in table["name"]]
    raw = raw_table(table)
    raw["source"] = freesound(table.get("src_file", raw["source"]))
    return raw


def _folders(root: Path) -> Table:
    """A folder per class, searched through; clips in the order of their names."""
    clips_of = {folder: audio_files(folder) for folder in subfolders(root)}
    empty = [folder.name for folder, clips in clips_of.items() if not clips]
    if empty:
        raise CommandError(f"{root}: classes without clips: {', '.join(empty)}")
    rows = [
        (uri_of(clip), clip.relative_to(root).as_posix(), folder.name)
        for folder, clips in clips_of.items()
        for clip in clips
    ]
    return Table(raw_table(pd.DataFrame(rows, columns=["uri", "name", "label"], dtype=str)))


def _csv(path: Path) -> Table:
    """A CSV of uri and label, and any other columns of ``RAW``; paths count from its folder.

    With a column answer it holds corrections (``tagger.corrections``). With the columns start_s and
    end_s a clip is a stretch of a recording.
    """
    table = read_csv(path, ["uri", "label"])
    uris = [located(uri, path.parent) for uri in table["uri"]]
    table["uri"] = uris
    folders = zip(*(uri.split("/")[:-1] for uri in uris), strict=False)
    depth = sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, folders))
    table["name"] = ["/".join(uri.split("/")[depth:]) for uri in uris]
    raw = raw_table(table)
    raw["name"] = [
        f"{name}{_fragment(start_s, end_s)}"
        for name, start_s, end_s in zip(raw["name"], raw["start_s"], raw["end_s"], strict=True)
    ]
    return Table(raw)


def _fragment(start_s: str, end_s: str) -> str:
    """What ends the name of a stretch: a media fragment, as #t=12,17.5; empty for all of it."""
    return f"#t={start_s or 0}{',' if end_s else ''}{end_s}" if start_s or end_s else ""


READERS: Final[dict[str, Callable[[Path], Table]]] = {
    "fsdkaggle2018": _fsdkaggle2018,
    "esc50": _esc_50,
    "esc10": _esc_10,
    "folders": _folders,
    "csv": _csv,
    **label_set_layouts.READERS,
}


def _class_folders(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root) if audio_files(folder)]
