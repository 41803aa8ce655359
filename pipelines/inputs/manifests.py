"""Manifests: files that list clips, ``.txt``, ``.csv`` or ``.parquet``.

    .txt      one URI or path per line, UTF-8, taken letter by letter (no comments, no quoting)
    .csv      a header line with a column ``uri``; every other column is kept as text
    .parquet  a column ``uri``; every other column is kept as it is

Text that begins with the byte order mark of UTF-16 is read as that. A column name that stands twice
is refused, since one of the two would be lost.

A path is taken letter by letter, also one with ``%20`` in it. A ``file:`` URI may be
percent-encoded, as of ``Path.as_uri()``; ``pipelines.storage.uris.named_path`` decides.

Further columns go to ``extra`` as JSON. What does not exist is listed all the same, with version
"" and size 0, so that it ends in ``failures`` as vanished and not in nothing.

Trust: whoever writes a list is not always who runs the job, so a list leads no further than the
command says (``pipelines.inputs.access``). A *relative* entry stays below the manifest's folder:
one that leaves it by ``..`` or through a symbolic link is refused. An *absolute* one names a local
file below a folder that the command names; a local manifest's own folder is one. A host must be on
the public internet, or named by the command. Each has a flag that lifts it. No manifest can name
what wraps another file system, such as ``zip://`` or ``git://``: the stores in ``_STORES`` alone.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from pipelines.inputs import object_stores
from pipelines.inputs.access import ANY, Access, InputLimits
from pipelines.inputs.extras import Extras
from pipelines.inputs.manifest_rows import rows
from pipelines.inputs.versions import Found, file_version
from pipelines.storage.uris import (
    both_paths,
    canonical,
    is_local,
    local_path,
    local_uri,
    named_path,
    path_of_text,
    scheme_of,
)
from tagger.errors import CommandError, Reason

SUFFIXES: Final = (".txt", ".csv", ".parquet")
_STORES: Final = (
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss"),
    *("http", "https", "ftp", "sftp", "hdfs", "webhdfs"),
)
_LOOKED_UP: Final = 50_000  # at a time
_OWN_LIST: Final = Access(InputLimits(manifest_mb=1 << 20, extra_mb=64.0))


def is_manifest(uri: str) -> bool:
    return uri.lower().endswith(SUFFIXES)


def read_manifest(uri: str, access: Access = ANY, extras: Extras | None = None) -> Iterator[Found]:
    """The clips that the manifest at a canonical URI lists, in its order.

    Parameters
    ----------
    extras : takes the further columns; None: they are left out

    Raises
    ------
    CommandError : empty, unreadable, without a column ``uri``, or an entry that is refused
    """
    entries = (
        (name, None if extras is None else extras.keep(extra))
        for name, extra in _resolved(uri, named_path, access)
    )
    while some := list(islice(entries, _LOOKED_UP)):
        found = _looked_up(list(dict.fromkeys(name for name, _ in some)), access)
        known = {row.uri: row for row in found}
        for name, place in some:
            yield known[name]._replace(extra=place)


def manifest_uris(uri: str) -> Iterator[str]:
    """The canonical URIs that the manifest lists, in its order; what they name may be gone.

    Raises
    ------
    CommandError : as ``read_manifest``; and a ``file:`` URI that may be read in two ways
    """
    for name, _ in _resolved(uri, _only_path, _OWN_LIST):
        yield name


def _only_path(text: str) -> str:
    """The path of a plain path or local URI, where no look at the disk can tell what is meant."""
    plain, decoded = both_paths(text)
    if plain != decoded:
        raise CommandError(
            f"{text!r} may mean {plain!r} or {decoded!r}: give the path without file://"
        )
    return plain


def _resolved(
    uri: str, path_of: Callable[[str], str], access: Access
) -> Iterator[tuple[str, str | None]]:
    """Canonical URI of each entry, and its further columns as JSON."""
    row = 0
    resolver = _Resolver(uri, path_of, access)
    for row, (name, extra) in enumerate(rows(uri, access), 1):
        yield resolver.resolve(name, row), extra
    if not row:
        raise CommandError(f"{uri!r} lists nothing: a manifest needs at least one uri")


def _looked_up(uris: Sequence[str], access: Access) -> list[Found]:
    local = [_local_version(uri) for uri in uris if is_local(uri)]
    return local + object_stores.look_up([uri for uri in uris if not is_local(uri)], access)


def _local_version(uri: str) -> Found:
    try:
        status = os.stat(local_path(uri))  # noqa: PTH116 (a million times)
    except (FileNotFoundError, NotADirectoryError):
        return Found(uri)
    except OSError as error:
        return Found(uri, problem=f"{Reason.UNREADABLE}: {error.strerror}")
    if not stat.S_ISREG(status.st_mode):
        return Found(uri, problem=f"{Reason.UNREADABLE}: not a regular file")
    return Found(uri, file_version(status), status.st_size)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_no_name(entry: str, where: str, any_bytes: bool) -> None:
    """CommandError for an entry that cannot be a name; ``any_bytes``: it need not be UTF-8."""
    if not entry:
        raise CommandError(f"{where} has no uri; fill it in or remove the row")
    if "\0" in entry:
        raise CommandError(f"{where} has a NUL in it; save the manifest as UTF-8 text")
    if not (any_bytes or _is_text(entry)):
        raise CommandError(f"{where} holds no text in UTF-8; save the manifest as UTF-8")


class _Resolver:
    """Entries of one manifest to canonical URIs.

    Parameters
    ----------
    path_of : the path that a local entry means; CommandError where that cannot be told
    """

    def __init__(self, manifest: str, path_of: Callable[[str], str], access: Access) -> None:
        self._path_of = path_of
        self._access = access
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
        _refuse_no_name(entry, where, any_bytes=self._is_local and is_local(entry))
        if not is_local(entry):
            return self._remote(entry, where)
        path = self._path(entry, where)
        if os.path.isabs(path):  # noqa: PTH117
            return self._absolute(os.path.abspath(path), where)  # noqa: PTH100
        return self._local(path, where) if self._is_local else self._beside(entry, where)

    def _remote(self, entry: str, where: str) -> str:
        if scheme_of(entry) not in _STORES:
            raise CommandError(
                f"{where} names something at {scheme_of(entry)}://; a manifest may name local"
                f" files and objects of {', '.join(_STORES)}"
            )
        return canonical(entry)

    def _beside(self, entry: str, where: str) -> str:
        """The URI of a relative entry of a manifest that is not local."""
        parts = entry.split("/")
        if scheme_of(entry) or ".." in parts:
            raise CommandError(
                f"{where} leaves the manifest's folder; name objects by whole URIs, with a scheme"
            )
        return "/".join([self._folder, *(part for part in parts if part != ".")])

    def _path(self, entry: str, where: str) -> str:
        if not scheme_of(entry) and entry[:6].lower() != "file:/":
            return path_of_text(entry)
        try:
            path = self._path_of(entry)
        except CommandError as error:
            raise CommandError(f"{where}: {error}") from None
        if "\0" in path:
            raise CommandError(f"{where} has a NUL in it; name the file as it is called")
        return path

    def _absolute(self, path: str, where: str) -> str:
        if not self._access.may_read(path):
            raise CommandError(
                f"{where} names {path!r}, which is not below a folder that the command names: name "
                "its folder beside the manifest, or give --allow-local"
            )
        return local_uri(path)

    def _local(self, path: str, where: str) -> str:
        path = os.path.normpath(f"{self._folder}/{path}")
        if not path.startswith(self._folder.rstrip("/") + "/") or not self._stays_inside(path):
            raise CommandError(
                f"{where} leaves the manifest's folder, by .. or by a link;"
                " if that is meant, write the absolute path and give --allow-local"
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
