"""Files that macOS keeps beside others: AppleDouble, under names that end in a suffix of audio.

    a/._x.wav             beside ``a/x.wav``, on disks and in buckets that know no resource forks
    __MACOSX/a/._x.wav    in a zip archive that was unpacked elsewhere
    a/.AppleDouble/x.wav  of netatalk

A name alone does not do: a recording may be called ``._x.wav`` too. It has the file that it belongs
to beside it, or lies in a folder of theirs, or begins with their magic number.
"""

import os
from typing import Final

_MAGIC: Final = (b"\x00\x05\x16\x07", b"\x00\x05\x16\x00")  # AppleDouble, AppleSingle


def owner(path: str) -> str | None:
    """The file that a path or URI would belong to if it were a sidecar; None: it is none."""
    folder, _, name = path.rpartition("/")
    if name.startswith("._"):
        return f"{folder}/{name[2:]}"
    if folder.endswith("/.AppleDouble"):
        return f"{folder.rpartition('/')[0]}/{name}"
    return None


def lies_among_sidecars(path: str) -> bool:
    """Whether a path or URI for which there is an ``owner`` lies where nothing else does."""
    return "/__MACOSX/" in path or "/.AppleDouble/" in path


def is_local_sidecar(path: str) -> bool:
    """Whether a regular file of this machine is a sidecar."""
    beside = owner(path)
    if beside is None:
        return False
    return lies_among_sidecars(path) or os.path.lexists(beside) or _has_magic(path)


def _has_magic(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(fd, 4) in _MAGIC
    except OSError:
        return False
    finally:
        os.close(fd)
