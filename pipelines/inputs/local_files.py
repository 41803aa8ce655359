"""The files below a folder of this machine, whatever else lies there.

One bad entry never ends the walk: it is noted in ``Skipped`` by its kind, and the walk goes on.
What ends it is a machine in trouble (no file handles left, a mount that does not answer), and a
folder that was named itself and may not be listed.

- Links: below a folder, a link to a file is a clip of its own if its target lies below that folder
  too, as a copy would be. Other links are passed over, so that what an archive's writers put in it
  cannot lead out of it.
- ``follow_links`` takes links wherever they lead. A folder is walked once, by device and inode, so
  loops do no harm. Folders are walked before links to folders: a link that is added to an archive
  changes no name of what was there. A file with two names is two clips, as a copy would be.
- A path that is longer than the system takes cannot be opened by anybody, so it is passed over.
"""

import errno
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator

from pipelines.inputs.sidecars import is_local_sidecar
from pipelines.inputs.skipped import Skipped
from pipelines.inputs.versions import Found, file_version
from pipelines.storage.errors import MACHINE_TROUBLE, AccessDenied, StoreUnavailable
from pipelines.storage.uris import local_uri


class Walk:
    """One walk below a folder.

    Parameters
    ----------
    top : an absolute path
    wanted : whether a name has the suffix of a clip
    skipped : takes note of what is passed over
    follow_links : see the head of this module
    matches : whether a path is asked for; others are left out without being counted
    enter : whether there may be such paths below the path of a folder
    """

    def __init__(
        self,
        top: str,
        wanted: Callable[[str], bool],
        skipped: Skipped,
        follow_links: bool = False,
        matches: Callable[[str], object] = bool,
        enter: Callable[[str], object] = bool,
    ) -> None:
        self._top = top
        self._real_top = os.path.realpath(top).rstrip("/") + "/"
        self._wanted = wanted
        self._skipped = skipped
        self._follow_links = follow_links
        self._matches = matches
        self._enter = enter
        self._folders = [top]
        self._linked: deque[str] = deque()
        self._seen: set[tuple[int, int]] = set()

    def files(self) -> Iterator[Found]:
        """The clips, sorted within each folder.

        Raises
        ------
        AccessDenied : the folder itself may not be listed
        StoreUnavailable : it cannot be listed, or the machine or its mounts are in trouble
        """
        while self._folders or self._linked:
            folder = self._folders.pop() if self._folders else self._linked.popleft()
            if self._follow_links and not self._is_new(folder):
                self._skipped.note("link", folder)
                continue
            below: list[str] = []
            for entry in self._entries(folder):
                try:
                    found = self._look_at(entry, below)
                except OSError as error:
                    self._skipped.note(_kind(error, entry.path, _is_link(entry)), entry.path)
                    continue
                if found:
                    yield found
            self._folders += reversed(below)

    def _is_new(self, folder: str) -> bool:
        """Whether the folder was not walked before, under this or another name."""
        try:
            status = os.stat(folder)  # noqa: PTH116 (Path would be slower and say no more)
        except OSError:
            return True  # listing it tells why
        key = (status.st_dev, status.st_ino)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder == self._top and isinstance(error, PermissionError):
                raise AccessDenied(
                    f"{folder!r} may not be listed: give access to it, or name what lies in it"
                ) from error
            if folder == self._top and not isinstance(error, FileNotFoundError):
                raise StoreUnavailable(f"{folder!r} cannot be listed: {error.strerror}") from error
            self._skipped.note(_kind(error, folder), folder)
            return []

    def _look_at(self, entry: os.DirEntry[str], below: list[str]) -> Found | None:
        """The clip that an entry is, if it is one; a folder is added to those to walk."""
        if entry.is_dir(follow_symlinks=False):
            if entry.name == ".git":
                self._skipped.note("git", entry.path)
            elif self._enter(entry.path):
                below.append(entry.path)
            return None
        is_link = entry.is_symlink()
        asked_for = self._matches(entry.path)
        follow = is_link and self._follow_links and self._enter(entry.path)
        if not asked_for and not follow:
            return None
        if not is_link and not self._wanted(entry.name):
            self._skipped["suffix"] += 1
            return None
        status = entry.stat()
        if follow and stat.S_ISDIR(status.st_mode):
            self._linked.append(entry.path)
        elif asked_for and self._is_clip(entry, status):
            return Found(local_uri(entry.path), file_version(status), status.st_size)
        return None

    def _is_clip(self, entry: os.DirEntry[str], status: os.stat_result) -> bool:
        """Whether an entry that has this behind it is a clip; takes note why it is none."""
        if stat.S_ISDIR(status.st_mode):
            kind = "link"
        elif not self._wanted(entry.name):
            self._skipped["suffix"] += 1
            return False
        elif not stat.S_ISREG(status.st_mode):
            kind = "special"
        elif entry.is_symlink() and not self._follow_links and not self._leads_below(entry):
            kind = "link"
        elif is_local_sidecar(entry.path):
            kind = "sidecar"
        else:
            return True
        self._skipped.note(kind, entry.path)
        return False

    def _leads_below(self, link: os.DirEntry[str]) -> bool:
        return os.path.realpath(link).startswith(self._real_top)


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:
        return False


def _kind(error: OSError, path: str, is_link: bool = False) -> str:
    """Why an entry is passed over; StoreUnavailable if it is not the entry's fault."""
    if error.errno in MACHINE_TROUBLE:
        raise StoreUnavailable(f"{path!r}: {error.strerror}") from error
    if len(os.fsencode(path)) >= os.pathconf("/", "PC_PATH_MAX"):
        return "too_long"
    if isinstance(error, PermissionError) or error.errno == errno.EIO:
        return "unreadable"
    if is_link:
        return "broken_link"
    return (
        "vanished" if isinstance(error, (FileNotFoundError, NotADirectoryError)) else "unreadable"
    )
