"""Zip archives from elsewhere, unpacked without trusting them.

The whole directory of an archive is judged before anything is written: no path outside the target,
no links or devices, no name twice, no encryption, bounded in number, size and compression, and room
on the disk.
Each file is written beside its place and renamed; contents are checked by the archive's CRC.
"""

import os
import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pipelines.assets.download import writing
from tagger.errors import CommandError

_ANY_RATIO_BYTES: Final = 10**8
_LONGEST: Final = 2048  # bytes of a name with its folders; Linux takes 4096 with those above


@dataclass(frozen=True)
class Bounds:
    """How much an archive may hold.

    Attributes
    ----------
    n_files, n_bytes : files, and their bytes when unpacked
    ratio : bytes when unpacked for each of the archive, beside 100 MB; sounds come to three at most
    """

    n_files: int = 100_000
    n_bytes: int = 50 * 10**9
    ratio: int = 100


def unpack(
    archive: Path,
    folder: Path,
    place: Callable[[Sequence[str]], str] = lambda names: "",
    bounds: Bounds = Bounds(),
) -> dict[str, int]:
    """Unpack ``archive`` below ``folder``, over what is there; returns sizes by relative path.

    Parameters
    ----------
    place : gives, for the archive's names, the folder below ``folder`` to unpack into

    Raises
    ------
    CommandError : the archive is broken or not to be trusted
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [info for info in opened.infolist() if not info.filename.endswith("/")]
            _judge(archive, members, bounds)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                free = shutil.disk_usage(folder).free
            if (needed := sum(info.file_size for info in members)) > free:
                raise CommandError(
                    f"{archive.name} needs {needed / 1e9:.1f} GB; {folder} has {free / 1e9:.1f}"
                )
            if needed > bounds.ratio * archive.stat().st_size + _ANY_RATIO_BYTES:
                raise CommandError(
                    f"{archive.name} would become {needed / 1e9:.1f} GB, more than {bounds.ratio} "
                    "times its size: nothing of it was unpacked"
                )
            base = place([info.filename for info in members])
            for info in members:
                _write(opened, info, folder, PurePosixPath(base, info.filename))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CommandError(f"{archive}: cannot be unpacked: {error}; fetch it again") from error
    except (FileNotFoundError, PermissionError) as error:
        raise CommandError(f"{archive}: cannot be read: {error.strerror}") from error
    return {PurePosixPath(base, info.filename).as_posix(): info.file_size for info in members}


def _judge(archive: Path, members: list[zipfile.ZipInfo], bounds: Bounds) -> None:
    """Raise ``CommandError`` for an archive that must not be unpacked."""
    names: set[str] = set()
    folders: set[str] = set()
    for info in members:
        fault = _fault(info) or ("is in it twice" if info.filename in names else "")
        if fault:
            raise _refused(archive, info.filename, fault)
        names.add(info.filename)
        folders.update(map(str, PurePosixPath(info.filename).parents))
    if both := names & folders:
        raise _refused(archive, min(both), "is a file and a folder")
    n_bytes = sum(info.file_size for info in members)
    if len(members) > bounds.n_files or n_bytes > bounds.n_bytes:
        raise CommandError(
            f"{archive.name} holds {len(members):,} files of {n_bytes / 1e9:.1f} GB in all; at "
            f"most {bounds.n_files:,} and {bounds.n_bytes / 1e9:.1f} GB are unpacked"
        )


def _refused(archive: Path, name: str, fault: str) -> CommandError:
    return CommandError(
        f"{archive.name}: {name[:200]!r} {fault}; nothing of this archive was unpacked"
    )


def _fault(info: zipfile.ZipInfo) -> str:
    """What is wrong with a member, or ``""``."""
    parts = PurePosixPath(info.filename).parts
    if not parts or parts[0] == "/" or ".." in parts or set(info.filename) & {"\\", ":"}:
        return "is no path inside a folder"
    if len(os.fsencode(info.filename)) > _LONGEST or max(map(len, map(os.fsencode, parts))) > 255:
        return "is too long a name"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in an unusual way"
    return "is encrypted" if info.flag_bits & 1 else ""


def _write(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, name: PurePosixPath
) -> None:
    target = folder / name
    with writing(target):
        if not target.parent.resolve().is_relative_to(folder.resolve()):
            raise CommandError(f"{target.parent} is a link that leads out of {folder}")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with archive.open(info) as source, temporary.open("xb") as file:
                shutil.copyfileobj(source, file, 2**20)
                if file.tell() != info.file_size:  # which zipfile leaves unchecked
                    raise zipfile.BadZipFile(f"{info.filename!r} has not the size it claims")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
