"""The folder of a Ray that a job starts itself: its logs and its sockets.

Only this user can enter it. It goes when the process ends, unless something failed for which Ray's
logs may tell why. Ray opens its own folder to every user of the machine, so it lies in one that Ray
does not touch. The path is short whatever the system's folder for temporary files is called, since
that of a socket may have 107 letters and Ray's own part takes 64.
"""

import atexit
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

LONGEST_PLACE: Final = 15  # 107 - 64 - "/archive-tagger-" and 8 letters, "/ray"
KEPT_S: Final = 7 * 24 * 3600.0
"""Folders that failed or killed jobs left are removed by a later job after so long."""

_PREFIX: Final = "archive-tagger-"

_folder: Path | None = None
_kept = False


def begin() -> str:
    """Make the folder for the Ray of this process; it goes at the process's end."""
    global _folder
    place = tempfile.gettempdir()
    if len(place) > LONGEST_PLACE or not _is_safe(place):
        place = "/tmp"  # noqa: S108 (mkdtemp makes a private folder in it)
    _sweep(Path(place))
    _folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    atexit.register(_end)
    return str(_folder / "ray")


def _is_safe(place: str) -> bool:
    """Whether no other user can rename what lies in a folder."""
    mode = Path(place).stat().st_mode
    return bool(mode & stat.S_ISVTX) or not mode & (stat.S_IWGRP | stat.S_IWOTH)


def keep() -> Path | None:
    """Keep the folder beyond the end of the process; where Ray's logs are, if it has run."""
    global _kept
    _kept = True
    return _folder and _folder / "ray" / "session_latest" / "logs"


def _end() -> None:
    """Runs before Ray's own end, as it was registered after that."""
    import ray

    ray.shutdown()
    if _folder is not None and not _kept:
        shutil.rmtree(_folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Remove what jobs of this user left long ago."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > KEPT_S:
                shutil.rmtree(folder, ignore_errors=True)
