"""``fetch``: FSDKaggle2018 from Zenodo or from local archives, verified and unpacked.

The record tells which files there are and their md5. What is verified and unpacked is noted in
``fetched.json`` of the folder, by archive: its checksum and the size of every file in it. A further
run does again only what is missing there or no longer has its size; where nothing is, it asks no
server. The archives themselves are not kept. The folder is one that ``tagger.dataset.load`` reads.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from pipelines.assets.download import PATIENCE_S, check_url, download, read_small, writing
from pipelines.assets.unpacking import unpack
from pipelines.storage.checksums import Checksum, file_digest
from tagger.configs import require_positive
from tagger.errors import CommandError, OptionError

RECORD: Final = "https://zenodo.org/api/records/2552860"
ARCHIVES: Final = tuple(
    f"FSDKaggle2018.{part}.zip" for part in ("meta", "doc", "audio_test", "audio_train")
)
LAYOUT: Final = "fsdkaggle2018"
FETCHED_FILE: Final = "fetched.json"

_LOCAL_ARCHIVES: Final = (
    "FSDKaggle2018.*.zip",
    "freesound-audio-tagging*.zip",  # Kaggle's, all in one
    "audio_t*.zip",
    "*.csv.zip",
)
_LOCAL_TABLES: Final = ("train*.csv", "test_post*.csv")
_OF_ONE_FOLDER: Final = ("FSDKaggle2018.", "audio_t")
_DOWNLOADS: Final = "_download"
_RECORD_BYTES: Final = 2**20
_ARCHIVE_BYTES: Final = 20 * 10**9


@dataclass(frozen=True, kw_only=True)
class FetchJob:
    """One run of ``fetch``."""

    out: str = field(metadata={"positional": True})
    """Local folder of the data set; it is made if it is not there."""

    archives: str | None = field(default=None, metadata={"metavar": "FOLDER"})
    """Local folder that holds the archives as Zenodo or Kaggle pack them. Left out: they are
    downloaded, 4.6 GiB."""

    record: str = field(default=RECORD, metadata={"metavar": "URL"})
    """Zenodo's record of the data set, as JSON, which names the archives and their checksums."""

    store_patience_s: float = PATIENCE_S
    """Longest time without progress of a download, before it is given up with exit code 6."""

    def __post_init__(self) -> None:
        if "://" in self.out:
            raise OptionError("out", "must be a local folder")
        check_url(self.record, "record")
        require_positive("store_patience_s", self.store_patience_s)


@dataclass
class FetchRecord:
    """What a run did.

    Attributes
    ----------
    unpacked, kept : checksums of the archives that were unpacked now, and before
    compared : whether the checksums were compared with the record's
    n_clips, n_development, n_test : of the data set as loaded; the last counts scored ones
    """

    folder: str
    compared: bool
    unpacked: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    n_clips: int = 0
    n_development: int = 0
    n_test: int = 0

    @property
    def text(self) -> str:
        """For people."""
        how = "md5 as in the record" if self.compared else "md5 not compared with the record's"
        lines = [f"{name}: unpacked, {sum_} ({how})" for name, sum_ in self.unpacked.items()]
        lines += [f"{name}: there already, {sum_}" for name, sum_ in self.kept.items()]
        lines.append(
            f"{self.folder}: {self.n_clips:,} clips, {self.n_development:,} to train on and "
            f"{self.n_test:,} to score"
        )
        return "\n".join(lines)


@dataclass(frozen=True)
class _Remote:
    url: str
    checksum: Checksum


def run(job: FetchJob) -> FetchRecord:
    """Carry out ``fetch``.

    Raises
    ------
    CommandError : archives that are missing, wrong or not to be trusted; a tree that is no data set
    StoreUnavailable, AccessDenied : the server or the disk gave out; what is done stays done
    """
    folder = Path(job.out).expanduser().absolute()
    record = FetchRecord(str(folder), compared=job.archives is None)
    notes = _Notes(folder)
    if job.archives is not None:
        _take_local(Path(job.archives).expanduser(), notes, record)
    else:
        _take_remote(job, notes, record)
    _count(folder, record)
    return record


class _Notes:
    """``fetched.json``: what was verified and unpacked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / FETCHED_FILE
        self._archives: dict[str, dict[str, Any]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )

    def kept(self, name: str) -> str | None:
        """The checksum of an archive whose files are all in place, or None."""
        noted = self._archives.get(name)
        if noted is None or not all(
            _has_size(self.folder / file, size) for file, size in noted["files"].items()
        ):
            return None
        checksum: str = noted["checksum"]
        return checksum

    def add(self, name: str, checksum: str, files: Mapping[str, int]) -> None:
        self._archives[name] = {"checksum": checksum, "files": dict(files)}
        temporary = self.folder / f".{FETCHED_FILE}.part"
        with writing(temporary):
            temporary.write_text(json.dumps(self._archives, indent=1), encoding="utf-8")
            temporary.replace(self.folder / FETCHED_FILE)


def _has_size(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _take_remote(job: FetchJob, notes: _Notes, record: FetchRecord) -> None:
    """Download and unpack what is not there yet."""
    record.kept = {name: sum_ for name in ARCHIVES if (sum_ := notes.kept(name))}
    if len(record.kept) == len(ARCHIVES):
        return
    remote = _files_of_record(job)
    downloads = notes.folder / _DOWNLOADS
    for name in ARCHIVES:
        checksum = str(remote[name].checksum)
        if record.kept.get(name) == checksum:
            continue
        record.kept.pop(name, None)
        archive = downloads / name
        download(
            remote[name].url, archive, remote[name].checksum, _ARCHIVE_BYTES, job.store_patience_s
        )
        notes.add(name, checksum, _unpack(archive, notes))
        record.unpacked[name] = checksum
        archive.unlink()
    shutil.rmtree(downloads, ignore_errors=True)


def _files_of_record(job: FetchJob) -> dict[str, _Remote]:
    """Where the record has the archives, and their checksums."""
    data = read_small(job.record, _RECORD_BYTES, job.store_patience_s)
    try:
        files = {
            entry["key"]: _Remote(str(entry["links"]["self"]), Checksum.parse(entry["checksum"]))
            for entry in json.loads(data)["files"]
            if entry["key"] in ARCHIVES
        }
    except (ValueError, KeyError, TypeError) as error:  # also a CommandError of Checksum.parse
        raise CommandError(f"{job.record} is no record of Zenodo's ({error!r})") from error
    missing = [name for name in ARCHIVES if name not in files]
    if missing:
        raise CommandError(f"{job.record} has no {', '.join(missing)}")
    for remote in files.values():
        check_url(remote.url, f"{job.record}:")
    return files


def _take_local(source: Path, notes: _Notes, record: FetchRecord) -> None:
    """Unpack local archives, and copy Kaggle's tables where they are not packed."""
    archives, tables = _matching(source, _LOCAL_ARCHIVES), _matching(source, _LOCAL_TABLES)
    if not archives:
        raise CommandError(
            f"{source}: none of {', '.join(ARCHIVES)} (Zenodo) or freesound-audio-tagging.zip, "
            "audio_train.zip, audio_test.zip (Kaggle) is in it"
        )
    for archive in archives:
        checksum = f"md5:{file_digest(archive, 'md5')}"
        if notes.kept(archive.name) == checksum:
            record.kept[archive.name] = checksum
            continue
        notes.add(archive.name, checksum, _unpack(archive, notes))
        record.unpacked[archive.name] = checksum
    for table in tables:
        with writing(notes.folder):
            shutil.copyfile(table, notes.folder / table.name)


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _unpack(archive: Path, notes: _Notes) -> dict[str, int]:
    return unpack(archive, notes.folder, partial(_base, archive.stem))


def _base(stem: str, names: Sequence[str]) -> str:
    """Where to unpack: an archive of bare files gets a folder of its name."""
    bare = stem.startswith(_OF_ONE_FOLDER) and not any("/" in name for name in names)
    return stem if bare else ""


def _count(folder: Path, record: FetchRecord) -> None:
    """Load the data set, which checks it."""
    from tagger import dataset  # pandas, which a parser of flags need not wait for

    loaded = dataset.load(folder, layout=LAYOUT)
    record.n_clips = len(loaded.clips)
    record.n_development, record.n_test = len(loaded.development()), len(loaded.test())
