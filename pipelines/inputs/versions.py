"""What tells two contents under one name apart: the version of a clip.

S3       the etag
local    "<size in bytes>-<modification time in ns>"
other    what the store calls etag or checksum, else size and modification time
"""

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple


class Found(NamedTuple):
    """A clip as it was listed; version "" and size 0 where there is nothing."""

    uri: str
    version: str = ""
    size_bytes: int = 0
    extra: int | None = None  # where further columns of a manifest are kept, see ``extras``
    problem: str | None = None  # why it cannot be read: "reason: detail", reason of the closed list


_CHECKSUMS: Final = ("etag", "md5hash", "md5", "content_md5", "checksum", "crc32c")
_TIMES: Final = (
    "mtime",
    "lastmodified",
    "last_modified",
    "last-modified",
    "updated",
    "modified",
    "created",
)


def file_version(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


def plain_etag(etag: str) -> str:
    """The etag without the quotes of HTTP."""
    return etag.strip('"')


def info_version(info: Mapping[str, Any]) -> str:
    """The version that an fsspec ``info`` entry tells; the same from ``find`` and ``info``."""
    known = {name.lower(): value for name, value in info.items() if value not in (None, "")}
    for name in _CHECKSUMS:
        if name in known:
            return plain_etag(str(known[name]))
    when = next((known[name] for name in _TIMES if name in known), "")
    return f"{known.get('size', '')}-{when.timestamp() if isinstance(when, datetime) else when}"
