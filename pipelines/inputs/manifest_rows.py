"""The rows of a manifest's file: names and what stands beside them, of each of its formats.

A file is read in pieces, so that memory holds some thousand rows of it, and within limits. What is
wrong with it is told in one line, which never repeats what is in it: that may be a secret.
"""

import codecs
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import pyarrow as pa
import pyarrow.csv as pa_csv

from pipelines.inputs import parquet_child
from pipelines.inputs.access import Access
from pipelines.inputs.manifest_secrets import Row, refuse_secrets
from pipelines.storage.errors import (
    AccessDenied,
    StoreUnavailable,
    TooMuch,
    one_line,
    store_errors,
)
from pipelines.storage.filesystems import copy_whole
from pipelines.storage.uris import is_local, local_path
from tagger.errors import CommandError, OptionError

LONGEST_NAME: Final = 16 << 10  # of a path of 4,095 bytes that are percent-encoded 12,285
_BATCH_BYTES: Final = 1 << 20
_NEVER_CLOSED: Final = "a quotation mark is never closed"
_LEAST_ROW: Final = 64  # bytes that a row counts as: it is kept with a name, an id and a version
_CHILD_BYTES: Final = 1536 << 20
_CHILD_CPU_S: Final = 3600
_CHILD_SEES: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")


def rows(uri: str, access: Access) -> Iterator[Row]:
    """The rows of a manifest, as they are read.

    Bytes of a name that are no UTF-8 are escaped in it (``surrogateescape``).

    Raises
    ------
    CommandError : unreadable, or without exactly one column ``uri``
    OptionError : more than the limits of manifests allow
    """
    some: list[Row] = []
    number = n_bytes = n_held = 0
    with _opened(uri, access) as file:
        read = _KINDS[uri.lower().rpartition(".")[2]]
        for number, row in enumerate(read(file, uri, _most_extra(access)), 1):
            size_bytes = _checked_size(row, f"{uri!r} row {number}", access)
            n_bytes += size_bytes
            if n_bytes > access.limits.manifest_mb << 20:
                raise _too_large(uri, access)
            some.append(row)
            n_held += size_bytes
            if n_held > _BATCH_BYTES:
                refuse_secrets(some, number - len(some), uri)
                yield from some
                some, n_held = [], 0
        refuse_secrets(some, number - len(some), uri)
        yield from some


def _most_extra(access: Access) -> int:
    return int(access.limits.extra_mb * (1 << 20))


def _checked_size(row: Row, where: str, access: Access) -> int:
    """What a row counts as; an error where it is too large by itself."""
    name, extra = row
    if len(name) > LONGEST_NAME:
        raise CommandError(
            f"{where} has over {LONGEST_NAME:,} letters, more than any path or URI; is the file a "
            "manifest, with a recording in each row?"
        )
    if extra is not None and len(extra) > _most_extra(access):
        told = f"is {access.limits.extra_mb:g}, and {where} has more beside its uri"
        raise OptionError("extra_mb", f"{told}: leave out what the tables need not hold")
    return max(len(name) + len(extra or ""), _LEAST_ROW)


def _too_large(uri: str, access: Access) -> OptionError:
    return OptionError("manifest_mb", f"is {access.limits.manifest_mb}, and {uri!r} holds more")


@contextmanager
def _opened(uri: str, access: Access) -> Iterator[IO[bytes]]:
    """The file of a manifest; of a remote one a copy, in a temporary file."""
    most_bytes = access.limits.manifest_mb << 20
    try:
        if is_local(uri):
            with Path(local_path(uri)).open("rb") as file:
                if os.fstat(file.fileno()).st_size > most_bytes:
                    raise TooMuch
                yield file
            return
        with tempfile.TemporaryFile() as copied:

            def copy() -> None:
                copied.seek(0)
                copied.truncate()
                copy_whole(uri, copied.write, most_bytes, access.reach)

            access.ask(copy, uri, f"reading {uri!r}")
            copied.seek(0)
            yield copied
    except TooMuch:
        raise _too_large(uri, access) from None
    except (AccessDenied, StoreUnavailable):
        raise
    except store_errors() as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise CommandError(f"{uri!r} cannot be read: {why}") from error


@contextmanager
def _utf8(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The text of a file in UTF-8, behind its byte order mark."""
    mark = file.read(3)
    if not mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        file.seek(3 if mark == codecs.BOM_UTF8 else 0)
        yield file
        return
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-16")()
    with tempfile.TemporaryFile() as copy:
        while piece := file.read(1 << 16):
            copy.write(decoder.decode(piece).encode())
        copy.write(decoder.decode(b"", final=True).encode())
        copy.seek(0)
        yield copy


def _lines(file: IO[bytes], uri: str, most_extra: int) -> Iterator[Row]:
    try:
        with _utf8(file) as text:
            while line := text.readline(LONGEST_NAME + 2):
                if line.strip():
                    name = line.removesuffix(b"\n").removesuffix(b"\r")
                    yield name.decode(errors="surrogateescape"), None
    except UnicodeDecodeError:
        raise CommandError(f"{uri!r} cannot be read: expected lines of UTF-8") from None


def _csv(file: IO[bytes], uri: str, most_extra: int) -> Iterator[Row]:
    block_bytes = most_extra + 2 * LONGEST_NAME  # a row is to fit in one
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    read = pa_csv.ReadOptions(use_threads=False, block_size=block_bytes)  # to tell rows
    try:
        with _utf8(file) as text:
            start = text.tell()
            if not text.read(block_bytes).strip():
                return
            with _again(text, start) as source:
                header = pa_csv.open_csv(source, read, parse).schema.names
            _check_header(header, uri)
            convert = pa_csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
            )
            batch = None
            with _again(text, start) as source:
                for batch in pa_csv.open_csv(source, read, parse, convert):
                    yield from _columns(batch)
            if batch is not None and batch.num_rows and _is_open(text, batch[-1][-1].as_py()):
                raise pa.ArrowInvalid(_NEVER_CLOSED)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise CommandError(f"{uri!r} {_trouble(error, most_extra)}") from None


def _is_open(file: IO[bytes], last: str) -> bool:
    """Whether the last field of a CSV begins with a quotation mark that is never closed.

    Arrow takes all that follows for its text, and so other rows would be lost in it.
    """
    end = b'"' + last.replace('"', '""').encode()
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(end)))
    return bool(last) and file.read() == end


def _again(file: IO[bytes], start: int) -> IO[bytes]:
    """The same file from a place on, for a reader that closes what it is given."""
    copy = os.fdopen(os.dup(file.fileno()), "rb")
    copy.seek(start)
    return copy


def _trouble(error: Exception, most_extra: int) -> str:
    """What Arrow says is wrong with a CSV, without the text that it repeats."""
    if "straddling object" in str(error):
        return (
            f"has a row of more than {most_extra / (1 << 20):g} MiB: leave out the columns with "
            f"long texts, or raise --extra-mb; or {_NEVER_CLOSED}"
        )
    if _NEVER_CLOSED in str(error):
        return f"cannot be read: {_NEVER_CLOSED}"
    if row := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", str(error)):
        return (
            f"has {row[3]} fields in row {int(row[1]) - 1} and {row[2]} in its header line: put "
            "fields with commas in quotation marks, and write the commas of empty ones"
        )
    return "cannot be read: expected UTF-8, commas, a header line"


def _columns(batch: pa.RecordBatch) -> Iterator[Row]:
    names = batch["uri"].to_pylist()
    further = batch.drop_columns(["uri"])
    if not further.num_columns:
        yield from ((name, None) for name in names)
        return
    for name, row in zip(names, further.to_pylist(), strict=True):
        yield name, json.dumps(row, ensure_ascii=False)


def _parquet(file: IO[bytes], uri: str, most_extra: int) -> Iterator[Row]:
    """Rows from a process of its own: see ``pipelines.inputs.parquet_child``."""
    command = [sys.executable, "-I", parquet_child.__file__, str(_CHILD_BYTES), str(_CHILD_CPU_S)]
    environment = {name: os.environ[name] for name in _CHILD_SEES if name in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # which take memory
    child = subprocess.Popen(  # noqa: S603 (this Python, a file of ours, numbers)
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    assert child.stdout is not None
    most_line = 6 * (most_extra + 2 * LONGEST_NAME)  # a letter takes six, escaped
    n_rows = 0
    try:
        if header := child.stdout.readline(most_line):
            _check_header(json.loads(header), uri)
        while line := child.stdout.readline(most_line):
            if line.strip() == parquet_child.NOT_UTF8.encode():
                where = f"{uri!r} below row {n_rows}"
                raise CommandError(f"{where} has text that is not UTF-8; save it as UTF-8")
            if not line.endswith(b"\n"):
                yield "", "x" * (most_extra + 1)  # more than may be
                return
            name, extra = json.loads(line)
            n_rows += 1
            yield name, extra
        code = child.wait()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    if code == parquet_child.NO_MEMORY or code < 0:
        raise CommandError(
            f"{uri!r} takes more than {_CHILD_BYTES >> 20} MiB of memory to unpack: write it anew, "
            "in smaller pages, or as .csv"
        )
    if code:
        raise CommandError(f"{uri!r} cannot be read: expected a Parquet file")


_KINDS: Final = {"txt": _lines, "csv": _csv, "parquet": _parquet}


def _check_header(header: Sequence[str], uri: str) -> None:
    """CommandError unless there is one column uri, and every name stands once.

    A name is not repeated in a message, for it may be a secret.
    """
    if header.count("uri") != 1:
        raise CommandError(f"{uri!r} needs exactly one column named uri; name it in the header")
    for column, name in enumerate(header):
        if name in header[:column]:
            twins = f"columns {header.index(name) + 1} and {column + 1}"
            what = "have the same name" if name else "have no name"
            raise CommandError(f"{uri!r}: {twins} {what}; give each a name of its own")
