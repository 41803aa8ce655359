"""The rows of a manifest's file: names and what stands beside them, of each of its formats.

What is wrong with a file is told in one line, which never repeats what is in it: that may be a
secret.
"""

import codecs
import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipelines.storage.filesystems import read_whole
from pipelines.storage.retry import with_retries
from pipelines.storage.uris import SECRET_PATTERN, is_local, local_path
from tagger.errors import CommandError

_BATCH_ROWS: Final = 50_000
_BLOCK_BYTES: Final = 1 << 20  # of a CSV; a row is to fit in one
_NEVER_CLOSED: Final = "a quotation mark is never closed"


def rows(uri: str) -> Iterator[tuple[list[str], list[str | None]]]:
    """Names as they are written, and the further columns of each as JSON, in batches.

    Bytes of a name that are no UTF-8 are escaped in it (``surrogateescape``).

    Raises
    ------
    CommandError : unreadable, or without exactly one column ``uri``
    """
    n_rows = 0
    for batch in _batches(uri):
        try:
            names, extras = _columns(batch, uri)
        except UnicodeDecodeError:
            where = f"{uri!r} below row {n_rows}"
            raise CommandError(f"{where} has text that is not UTF-8; save it as UTF-8") from None
        n_rows += len(names)
        yield names, extras


def _content(uri: str) -> bytes:
    if not is_local(uri):
        return with_retries(lambda: read_whole(uri), f"reading {uri!r}")
    try:
        return Path(local_path(uri)).read_bytes()
    except OSError as error:
        raise CommandError(f"{uri!r} cannot be read: {error.strerror}") from error


def _batches(uri: str) -> Iterator[pa.RecordBatch]:
    """Rows with a column ``uri``; never says what is in them, for it may be a secret."""
    data = _content(uri)
    kind = uri.lower().rpartition(".")[2]
    read, expected = _KINDS[kind]
    try:
        yield from read(data if kind == "parquet" else _utf8(data))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = _trouble(error) or f"cannot be read: expected {expected}"
        raise CommandError(f"{uri!r} {why}") from None


def _trouble(error: Exception) -> str:
    """What Arrow says is wrong with a CSV, without the text that it repeats; "" for the rest."""
    if "straddling object" in str(error):
        return (
            f"has a row of more than {_BLOCK_BYTES >> 20} MiB: leave out the columns with long "
            f"texts, or write Parquet; or {_NEVER_CLOSED}"
        )
    if _NEVER_CLOSED in str(error):
        return f"cannot be read: {_NEVER_CLOSED}"
    if row := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error)):
        return (
            f"has {row[3]} fields in row {int(row[1]) - 1} and {row[2]} in its header line: put "
            "fields with commas in quotation marks, and write the commas of empty ones"
        )
    return ""


def _utf8(data: bytes) -> bytes:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def _lines(data: bytes) -> Iterator[pa.RecordBatch]:
    names = [line.removesuffix(b"\r") for line in data.split(b"\n") if line.strip()]
    for start in range(0, len(names), _BATCH_ROWS):
        column = pa.array(names[start : start + _BATCH_ROWS], pa.binary())
        yield pa.RecordBatch.from_arrays([column], ["uri"])


def _csv(data: bytes) -> Iterator[pa.RecordBatch]:
    if not data.strip():
        return
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)  # to tell rows
    header = pa_csv.open_csv(io.BytesIO(data), read, parse).schema.names
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
    )
    last = None
    for last in pa_csv.open_csv(io.BytesIO(data), read, parse, convert):
        yield last
    if last is not None and last.num_rows and _is_open(data, last[-1][-1].as_py()):
        raise pa.ArrowInvalid(_NEVER_CLOSED)


def _is_open(data: bytes, last: str) -> bool:
    """Whether the last field of a CSV begins with a quotation mark that is never closed.

    Arrow takes all that follows for its text, and so other rows would be lost in it.
    """
    return bool(last) and data.endswith(b'"' + last.replace('"', '""').encode())


def _parquet(data: bytes) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(io.BytesIO(data)) as file:
        if not file.metadata.num_rows:
            return
        yield from file.iter_batches(_BATCH_ROWS)


_KINDS: Final = {
    "txt": (_lines, "lines of UTF-8"),
    "csv": (_csv, "UTF-8, commas, a header line"),
    "parquet": (_parquet, "a Parquet file"),
}


def _columns(batch: pa.RecordBatch, uri: str) -> tuple[list[str], list[str | None]]:
    """The names in a batch, and the further columns of each row as JSON."""
    if batch.schema.names.count("uri") != 1:
        raise CommandError(f"{uri!r} needs exactly one column named uri; name it in the header")
    _refuse_twins(batch.schema.names, uri)
    names = [_text(name) for name in batch["uri"].to_pylist()]
    further = batch.drop_columns(["uri"])
    if not further.num_columns:
        return names, [None] * len(names)
    extras: list[str | None] = [
        json.dumps(_finite(row), ensure_ascii=False, default=str) for row in further.to_pylist()
    ]
    if pc.any(pc.match_substring_regex(pa.array(extras), SECRET_PATTERN)).as_py():
        raise CommandError(f"{uri!r}: a column beside uri holds URIs with credentials; remove it")
    return names, extras


def _refuse_twins(header: Sequence[str], uri: str) -> None:
    """CommandError for two columns of one name; it is not repeated, for it may be a secret."""
    for column, name in enumerate(header):
        if name in header[:column]:
            twins = f"columns {header.index(name) + 1} and {column + 1}"
            what = "have the same name" if name else "have no name"
            raise CommandError(f"{uri!r}: {twins} {what}; give each a name of its own")


def _text(name: Any) -> str:
    """The text of an entry; bytes that are no UTF-8 are escaped in it."""
    if isinstance(name, bytes):
        return name.decode(errors="surrogateescape")
    return str(name or "")


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity, at any depth: JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
