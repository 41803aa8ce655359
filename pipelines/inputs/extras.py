"""Further columns of manifests' rows, kept in a temporary file until a worker is given the row.

A listing is held by the driver for as long as a run takes, and filtered and sorted some times over.
So its rows hold a place in this file, and not kilobytes of text each.
"""

import os
import struct
import tempfile
import weakref
from typing import IO, Final

import pyarrow as pa

from tagger.schema import LISTING

_LENGTH = struct.Struct("<I")
_CHUNK_ROWS: Final = 1024
_BUFFER_BYTES: Final = 1 << 20
_COLUMN = LISTING.get_field_index("extra")

KEPT = LISTING.set(_COLUMN, pa.field("extra", pa.int64()))
"""``LISTING`` with places in a file of ``Extras``, null where a row has none."""


class Extras:
    """Texts in a temporary file without a name, which lasts as long as this object."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._n_texts = 0

    def keep(self, text: str | None) -> int | None:
        """Write a text; returns its place."""
        if text is None:
            return None
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115 (our life)
            weakref.finalize(self, self._file.close)
        data = text.encode()
        place = self._end
        self._file.write(_LENGTH.pack(len(data)) + data)
        self._end += _LENGTH.size + len(data)
        self._n_texts += 1
        return place

    def restored(self, clips: pa.Table) -> pa.Table:
        """Clips of schema ``KEPT`` with their texts: schema ``LISTING``."""
        if self._file is not None:
            self._file.flush()
        places = clips["extra"]
        chunks = [
            pa.array(map(self._read, places.slice(row, _CHUNK_ROWS).to_pylist()), pa.string())
            for row in range(0, len(places), _CHUNK_ROWS)
        ]
        return clips.set_column(
            _COLUMN, LISTING.field("extra"), pa.chunked_array(chunks, pa.string())
        )

    def size_bytes(self, clips: pa.Table) -> int:
        """What the texts of some clips probably take: so many of the mean size."""
        n_texts: int = len(clips) - clips["extra"].null_count
        return self._end * n_texts // max(self._n_texts, 1)

    def _read(self, place: int | None) -> str | None:
        if place is None or self._file is None:
            return None
        file = self._file.fileno()
        (n_bytes,) = _LENGTH.unpack(os.pread(file, _LENGTH.size, place))
        return os.pread(file, n_bytes, place + _LENGTH.size).decode()
