"""Manifests: files that list clips, ``.txt``, ``.csv`` or ``.parquet``.

    .txt      one URI or path per line, UTF-8, taken letter by letter (no comments, no quoting)
    .csv      a header line with a column ``uri``; every other column is kept as text
    .parquet  a column ``uri``; every other column is kept as it is

Text that begins with the byte order mark of UTF-16 is read as that.

Further columns go to ``extra`` as JSON. What does not exist is listed all the same, with version
"" and size 0, so that it ends in ``failures`` as vanished and not in nothing.

Trust: a manifest may name any place its reader may read, as the command line may. But a *relative*
entry stays below the manifest's folder: one that leaves it by ``..`` or through a symbolic link is
refused, because whoever writes into an archive's folder is not always who runs the job. For the
same reason a manifest in an object store cannot name local files, and no manifest can name what
wraps another file system, such as ``zip://`` or ``git://``: the stores in ``_STORES`` alone.
"""

import codecs
import io
import json
import math
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipelines.inputs import object_stores
from pipelines.inputs.access import ANY, Access
from pipelines.inputs.versions import Found, file_version
from pipelines.storage.filesystems import read_whole
from pipelines.storage.retry import with_retries
from pipelines.storage.uris import (
    SECRET_PATTERN,
    canonical,
    is_local,
    local_path,
    local_uri,
    refuse_credentials,
    scheme_of,
)
from tagger.errors import CommandError

SUFFIXES: Final = (".txt", ".csv", ".parquet")
_BATCH_ROWS: Final = 50_000
_STORES: Final = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"),
    *("http", "https", "ftp", "sftp", "hdfs", "webhdfs"),
)


def is_manifest(uri: str) -> bool:
    return uri.lower().endswith(SUFFIXES)


def read_manifest(uri: str, access: Access = ANY) -> Iterator[Found]:
    """The clips that the manifest at a canonical URI lists, in its order.

    Raises
    ------
    CommandError : empty, unreadable, without a column ``uri``, or an entry that is refused
    """
    for uris, extras in _resolved(uri):
        yield from _with_extras(_looked_up(list(dict.fromkeys(uris)), access), uris, extras)


def manifest_uris(uri: str) -> Iterator[str]:
    """The canonical URIs that the manifest lists, in its order; none is looked up.

    Raises
    ------
    CommandError : as ``read_manifest``
    """
    for uris, _ in _resolved(uri):
        yield from uris


def _resolved(uri: str) -> Iterator[tuple[list[str], list[str | None]]]:
    """Canonical URIs of the entries, and the further columns of each as JSON, in batches."""
    n_rows = 0
    resolver = _Resolver(uri)
    for batch in _batches(uri):
        try:
            names, extras = _columns(batch, uri)
        except UnicodeDecodeError:
            where = f"{uri!r} below row {n_rows}"
            raise CommandError(f"{where} has text that is not UTF-8; save it as UTF-8") from None
        rows = range(n_rows + 1, n_rows + 1 + len(names))
        n_rows += len(names)
        yield [resolver.resolve(name, row) for name, row in zip(names, rows, strict=True)], extras
    if not n_rows:
        raise CommandError(f"{uri!r} lists nothing: a manifest needs at least one uri")


def _with_extras(
    found: Sequence[Found], uris: Sequence[str], extras: Sequence[str | None]
) -> Iterator[Found]:
    known = {row.uri: row for row in found}
    for uri, extra in zip(uris, extras, strict=True):
        yield known[uri]._replace(extra=extra)


def _looked_up(uris: Sequence[str], access: Access) -> list[Found]:
    local = [_local_version(uri) for uri in uris if is_local(uri)]
    return local + object_stores.look_up([uri for uri in uris if not is_local(uri)], access)


def _local_version(uri: str) -> Found:
    try:
        status = os.stat(local_path(uri))  # noqa: PTH116 (a million times)
    except OSError:
        return Found(uri)
    if not stat.S_ISREG(status.st_mode):
        return Found(uri)
    return Found(uri, file_version(status), status.st_size)


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
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        raise CommandError(f"{uri!r} cannot be read: expected {expected}") from None


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
    header = pa_csv.open_csv(io.BytesIO(data), parse_options=parse).schema.names
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
    )
    yield from pa_csv.open_csv(io.BytesIO(data), parse_options=parse, convert_options=convert)


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


def _text(name: Any) -> str:
    return os.fsdecode(name) if isinstance(name, bytes) else str(name or "")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity, at any depth: JSON has neither."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Resolver:
    """Entries of one manifest to canonical URIs."""

    def __init__(self, manifest: str) -> None:
        self._manifest = manifest
        self._is_local = is_local(manifest)
        self._folder = (
            os.path.dirname(local_path(manifest))  # noqa: PTH120
            if self._is_local
            else manifest.rpartition("/")[0]
        )
        self._inside: dict[str, bool] = {}

    def resolve(self, entry: str, row: int) -> str:
        where = f"{self._manifest!r} row {row}"
        if not entry:
            raise CommandError(f"{where} has no uri; fill it in or remove the row")
        any_bytes = self._is_local and is_local(entry)
        if "\0" in entry or not (any_bytes or _is_text(entry)):
            raise CommandError(f"{where} holds no text in UTF-8; save the manifest as UTF-8")
        if not is_local(entry):
            if scheme_of(entry) not in _STORES:
                raise CommandError(
                    f"{where} names something at {scheme_of(entry)}://; a manifest may name local"
                    f" files and objects of {', '.join(_STORES)}"
                )
            refuse_credentials(entry, where)
            return canonical(entry)
        if self._is_local:
            return self._local(local_path(entry), where)
        parts = entry.split("/")
        if scheme_of(entry) or entry.startswith("/") or ".." in parts:
            raise CommandError(
                f"{where} leaves the manifest's folder; name objects by whole URIs, with a scheme"
            )
        return "/".join([self._folder, *(part for part in parts if part != ".")])

    def _local(self, path: str, where: str) -> str:
        if os.path.isabs(path):  # noqa: PTH117
            return local_uri(os.path.abspath(path))  # noqa: PTH100
        path = os.path.normpath(f"{self._folder}/{path}")
        if not path.startswith(self._folder.rstrip("/") + "/") or not self._stays_inside(path):
            raise CommandError(
                f"{where} leaves the manifest's folder, by .. or by a link;"
                " if that is meant, write the absolute path"
            )
        return local_uri(path)

    def _stays_inside(self, path: str) -> bool:
        """Whether a path below the folder is still below it when all links are resolved."""
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent not in self._inside:
            self._inside[parent] = self._really_inside(parent)
        if not self._inside[parent]:
            return False
        return not os.path.islink(path) or self._really_inside(path)  # noqa: PTH114

    def _really_inside(self, path: str) -> bool:
        real_folder = os.path.realpath(self._folder)
        real = os.path.realpath(path)
        return real == real_folder or real.startswith(real_folder.rstrip("/") + "/")
