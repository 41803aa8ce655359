"""What INPUT names, as a table of clips.

INPUT is any mixture of files, folders, globs, ``s3://`` prefixes (or another fsspec scheme's) and
manifests (``.txt``, ``.csv``, ``.parquet``: see ``pipelines.inputs.manifests``).

- A folder or prefix gives every file below it with a suffix of ``AUDIO_SUFFIXES``, whatever its
  name begins with; the others are counted as skipped.
- A file named by itself is taken whatever its suffix.
- A glob gives the files it matches and those below the folders it matches: ``*``, ``?``, ``[...]``
  within a name, ``**`` across folders. Where it ends in a suffix of its own (``*.dat``) that
  decides; else ``AUDIO_SUFFIXES`` does.
- An empty folder or prefix gives nothing; a missing local path or bucket is a ``CommandError``.
- Links: a link named by itself is followed. Below a folder, a link to a file is a clip of its own
  if its target lies below that folder too, as a copy would be; any other link is skipped, so that
  what an archive's writers put in it cannot lead out of it. Links to folders below a folder are
  never followed, so loops do no harm.
"""

import glob
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.inputs import object_stores
from pipelines.inputs.access import ANY, Access
from pipelines.inputs.manifests import is_manifest, read_manifest
from pipelines.inputs.versions import Found, file_version
from pipelines.storage.uris import (
    canonical,
    clip_id,
    is_local,
    local_path,
    local_uri,
    refuse_credentials,
)
from tagger.errors import CommandError
from tagger.recording import AUDIO_SUFFIXES
from tagger.schema import LISTING

CHUNK_ROWS: Final = 50_000

_log = logging.getLogger(__name__)


def gather(
    inputs: Sequence[str], skipped: Counter[str] | None = None, access: Access = ANY
) -> pa.Table:
    """Every clip that ``inputs`` name, once: a table of schema ``LISTING``.

    Parameters
    ----------
    inputs : paths, URIs, globs, manifests
    skipped : counts what was passed over, by kind: suffix, link, special, duplicate
    access : how much may be read, from where, and for how long a store is waited for

    Raises
    ------
    CommandError : an input that cannot be listed as given
    AccessDenied, StoreUnavailable : an object store gave out
    """
    counts = Counter[str]() if skipped is None else skipped
    clips = without_duplicates(list(list_clips(inputs, counts, access)), counts)
    _log.info("listed %d clips; passed over %s", len(clips), dict(counts) or "nothing")
    return clips


def list_clips(
    inputs: Iterable[str], skipped: Counter[str], access: Access = ANY
) -> Iterator[pa.Table]:
    """The clips of ``inputs`` as they are found, duplicates included: tables of ``CHUNK_ROWS``."""
    found = (row for text in inputs for row in _find(text, skipped, access))
    while rows := list(islice(found, CHUNK_ROWS)):
        uris, versions, sizes, extras, problems = zip(*rows, strict=True)
        ids = list(map(clip_id, uris, versions))
        columns = (ids, uris, versions, sizes, extras, problems)
        yield pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, LISTING, strict=True)],
            schema=LISTING,
        )


def without_duplicates(tables: Sequence[pa.Table], skipped: Counter[str]) -> pa.Table:
    """One table with each uri once: its first row, or the first that brings ``extra``."""
    table = pa.concat_tables([LISTING.empty_table(), *tables])
    uri: Any = table["uri"].dictionary_encode().combine_chunks()
    if len(uri.dictionary) == len(table):
        return table
    codes = uri.indices.to_numpy()
    order = np.argsort(table["extra"].is_null().to_numpy(), kind="stable")
    _, first = np.unique(codes[order], return_index=True)
    keep = np.sort(order[first])
    skipped["duplicate"] += len(table) - len(keep)
    return table.take(keep)


def _find(text: str, skipped: Counter[str], access: Access) -> Iterator[Found]:
    refuse_credentials(text, "INPUT")
    if not local_path(text):
        raise CommandError("INPUT is empty; name a file, a folder, a glob or a prefix")
    if is_local(text):
        return _find_local(os.path.abspath(os.path.expanduser(local_path(text))), skipped, access)  # noqa: PTH100, PTH111
    return _find_remote(canonical(text), skipped, access)


def _find_local(path: str, skipped: Counter[str], access: Access) -> Iterator[Found]:
    try:
        status = os.stat(path)  # noqa: PTH116 (Path would be slower and say no more)
    except PermissionError as error:
        raise CommandError(f"{path!r} may not be read: check its permissions") from error
    except OSError:
        if glob.has_magic(path):
            return _walk_glob(path, skipped)
        raise CommandError(f"{path!r}: no such file or folder; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        return _walk(path, skipped, _has_suffix)
    if not stat.S_ISREG(status.st_mode):
        raise CommandError(f"{path!r} is neither a file nor a folder; name one of these")
    uri = local_uri(path)
    if is_manifest(uri):
        return read_manifest(uri, access)
    return iter([Found(uri, file_version(status), status.st_size)])


def _find_remote(uri: str, skipped: Counter[str], access: Access) -> Iterator[Found]:
    if not uri.endswith("/") and (single := object_stores.look_up([uri], access)[0]).version:
        return read_manifest(uri, access) if is_manifest(uri) else iter([single])
    if glob.has_magic(uri):
        matches, wanted = _glob(uri)
        literal = re.split(r"[*?\[]", uri, maxsplit=1)[0]
        found = (row for row in object_stores.find_from(literal, access) if matches(row.uri))
        return _kept(found, skipped, wanted)
    if is_manifest(uri) or _has_suffix(uri):
        raise CommandError(f"{uri!r}: no such object; check the name")
    return _kept(object_stores.find_below(uri, access), skipped, _has_suffix)


def _kept(
    found: Iterable[Found], skipped: Counter[str], wanted: Callable[[str], bool]
) -> Iterator[Found]:
    for row in found:
        if wanted(row.uri):
            yield row
        elif not row.uri.endswith("/"):  # as S3 consoles mark a folder
            skipped["suffix"] += 1


def _has_suffix(name: str) -> bool:
    return name[name.rfind(".") :].lower() in AUDIO_SUFFIXES


def _glob(pattern: str) -> tuple[Callable[[str], object], Callable[[str], bool]]:
    """Whether a path matches or lies below a match; and whether its suffix is wanted."""
    from fsspec.utils import glob_translate

    try:
        expression = re.compile(glob_translate(pattern)[:-2] + r"(?s:/.*)?\Z")
    except ValueError:
        raise CommandError(
            f"{pattern!r}: ** stands for whole folder names only: a/**/*.wav"
        ) from None
    ending = pattern[pattern.rfind(".") :]
    decided = ending[:1] == "." and "/" not in ending and not glob.has_magic(ending)
    return expression.match, (lambda name: True) if decided else _has_suffix


def _walk_glob(pattern: str, skipped: Counter[str]) -> Iterator[Found]:
    parts = pattern.split("/")
    n_literal = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    folder = "/".join(parts[:n_literal]) or "/"
    if not os.path.isdir(folder):  # noqa: PTH112
        raise CommandError(f"{folder!r}: no such folder; check the path")
    matches, wanted = _glob(pattern)
    depth_open = parts.index("**") if "**" in parts else len(parts)
    level = {depth: _glob("/".join(parts[:depth]))[0] for depth in range(n_literal, depth_open + 1)}

    def enter(path: str) -> bool:
        depth = path.count("/") + 1
        return depth > depth_open or bool(level[depth](path))

    return _walk(folder, skipped, wanted, enter, matches)


def _walk(
    top: str,
    skipped: Counter[str],
    wanted: Callable[[str], bool],
    enter: Callable[[str], object] = bool,
    matches: Callable[[str], object] = bool,
) -> Iterator[Found]:
    """Files below a folder, sorted within each folder; see the head of this module for links."""
    real_top = os.path.realpath(top).rstrip("/") + "/"
    folders = [top]
    while folders:
        below = []
        for entry in _entries(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                if enter(entry.path):
                    below.append(entry.path)
            elif matches(entry.path):
                kind = "" if wanted(entry.name) else "suffix"
                if entry.is_symlink() and (entry.is_dir() or not _leads_below(entry, real_top)):
                    kind = "link"
                if not kind and (found := _file(entry)):
                    yield found
                else:
                    skipped[kind or "special"] += 1
        folders += reversed(below)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except PermissionError as error:
        raise CommandError(
            f"{folder!r} may not be listed: give access to it, or name the folders beside it"
        ) from error
    except FileNotFoundError:  # removed while we walk
        return []


def _leads_below(link: os.DirEntry[str], real_top: str) -> bool:
    return os.path.realpath(link).startswith(real_top)


def _file(entry: os.DirEntry[str]) -> Found | None:
    try:
        status = entry.stat()
    except OSError:  # removed while we walk, or a link to nothing
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return Found(local_uri(entry.path), file_version(status), status.st_size)
