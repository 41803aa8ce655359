"""When a recording was made, as its name or its header states it.

Times are without a zone: those of the clock that the recorder went by, which may be local or UTC.

Sources: EBU Tech 3285 (the chunk bext), the GUANO specification 1.0 (the chunk guan), the comment
that AudioMoth's firmware writes (LIST INFO ICMT), and names as AudioMoth, Song Meter and others
give them.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Final

from tagger.chunks import RIFF
from tagger.recording import Reader, Source

_IN_NAMES: Final = re.compile(
    r"(?<!\d)(\d{4})([-_.]?)(\d\d)\2(\d\d)[T_ -]*(\d\d)([-_.:h]?)(\d\d)(?:\6|[m-])(\d\d)(?!\d)"
)
"""20240101_063000, 2024-01-01T06:30:00, 2024-01-01 06.30.00, 20240101063000 and the like."""

_BEXT_DATE: Final = slice(320, 338)  # after description, originator and its reference
_BEXT_TIME: Final = re.compile(rb"(\d{4})\D(\d\d)\D(\d\d)(\d\d)\D(\d\d)\D(\d\d)")
_GUANO_TIME: Final = re.compile(r"^Timestamp: *(\S+)", re.MULTILINE)
_AUDIOMOTH_TIME: Final = re.compile(
    rb"ICMT.{4}Recorded at (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4})(?!\d)", re.DOTALL
)
"""In the comment of a LIST chunk: Recorded at 19:17:30 30/01/2019 (UTC+2) by AudioMoth …"""
_LONGEST_CHUNK: Final = 1 << 16  # that is read
_MOST_CHUNKS: Final = 100

_DIRECTIVES: Final = {
    "%Y": r"(?P<Y>\d{4})",
    "%m": r"(?P<m>\d\d)",
    "%d": r"(?P<d>\d\d)",
    "%j": r"(?P<j>\d{3})",
    "%H": r"(?P<H>\d\d)",
    "%M": r"(?P<M>\d\d)",
    "%S": r"(?P<S>\d\d)",
    "%%": "%",
}
"""What a pattern may hold, as ``datetime.strptime`` has it."""

_DAYS: Final = ({"Y", "m", "d"}, {"Y", "j"})

FromName = Callable[[str], datetime | None]


def by_pattern(pattern: str) -> FromName:
    """Find times in names by a pattern such as ``%Y%m%d_%H%M%S``, at its last place in a name.

    Raises
    ------
    ValueError : a pattern that knows no day, or holds something else than ``_DIRECTIVES``
    """
    parts = re.split(r"(%.?)", pattern)
    unknown = [part for part in parts[1::2] if part not in _DIRECTIVES]
    if unknown:
        raise ValueError(f"{unknown[0]} is none of {', '.join(_DIRECTIVES)}")
    given = [part[1] for part in parts[1::2] if part != "%%"]
    if not any(day <= set(given) for day in _DAYS) or len(set(given)) < len(given):
        raise ValueError("it must hold %Y, %m and %d, or %Y and %j, each part once")
    wanted = re.compile(
        "".join(_DIRECTIVES[part] if i % 2 else re.escape(part) for i, part in enumerate(parts))
    )
    order = "".join(f"%{name}" for name in given)

    def from_name(name: str) -> datetime | None:
        found = None
        for match in wanted.finditer(name):
            with suppress(ValueError):
                found = datetime.strptime("".join(match[part] for part in given), order)
        return found

    return from_name


def from_name(name: str) -> datetime | None:
    """The time that the last part of a path or URI holds in one of the usual ways, or None."""
    for match in _IN_NAMES.finditer(name.rstrip("/").rpartition("/")[2]):
        year, _, month, day, hour, _, minute, second = match.groups()
        with suppress(ValueError):
            return datetime(*map(int, (year, month, day, hour, minute, second)))  # type: ignore[arg-type]
    return None


def from_header(source: Source) -> datetime | None:
    """The time in the header of a WAV file (GUANO, else bext, else AudioMoth's comment), or None.

    Raises
    ------
    OSError : the source cannot be read
    """
    reader = Reader(source)
    try:
        reader.seek(0)
        if reader.read(4) not in (b"RIFF", b"RF64", b"BW64"):
            return None
        found = {b"guan": b"", b"bext": b"", b"LIST": b""}
        for chunk in islice(RIFF.walk(reader), _MOST_CHUNKS):
            if chunk.kind in found:
                length = min(chunk.end - chunk.start, _LONGEST_CHUNK)
                found[chunk.kind] += reader.read_at(chunk.start, length)
        reader.check()
    finally:
        reader.close()
    return _guano(found[b"guan"]) or _bext(found[b"bext"]) or _audiomoth(found[b"LIST"])


def _guano(chunk: bytes) -> datetime | None:
    match = _GUANO_TIME.search(chunk.decode(errors="replace"))
    if match:
        with suppress(ValueError):
            return datetime.fromisoformat(match[1]).replace(tzinfo=None)
    return None


def _bext(chunk: bytes) -> datetime | None:
    match = _BEXT_TIME.fullmatch(chunk[_BEXT_DATE])
    if match:
        with suppress(ValueError):
            return datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    return None


def _audiomoth(lists: bytes) -> datetime | None:
    match = _AUDIOMOTH_TIME.search(lists)
    if match:
        hour, minute, second, day, month, year = map(int, match.groups())
        with suppress(ValueError):
            return datetime(year, month, day, hour, minute, second)
    return None
