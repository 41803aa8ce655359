"""What INPUT names, as a table of clips.

INPUT is any mixture of files, folders, globs, ``s3://`` prefixes (or another fsspec scheme's) and
manifests (``.txt``, ``.csv``, ``.parquet``: see ``pipelines.inputs.manifests``).

- A folder or prefix gives every file below it with a suffix of ``AUDIO_SUFFIXES``, whatever its
  name begins with; what is passed over is counted (``pipelines.inputs.skipped``). Links and what
  else lies in folders: ``pipelines.inputs.local_files``. A link named by itself is followed.
- A file named by itself is taken whatever its suffix.
- A glob gives the files it matches and those below the folders it matches: ``*``, ``?``, ``[...]``
  within a name, ``**`` across folders. Where it ends in a suffix of its own (``*.dat``) that
  decides; else ``AUDIO_SUFFIXES`` does. A name with these letters that exists is that name:
  ``rec [2024]/*.wav`` are files of the folder ``rec [2024]`` if there is one.
- An empty folder or prefix gives nothing; a missing local path or bucket is a ``CommandError``.
"""

import glob
import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pipelines.inputs import object_stores, sidecars
from pipelines.inputs.access import ANY, Access
from pipelines.inputs.extras import KEPT, Extras
from pipelines.inputs.local_files import Walk
from pipelines.inputs.manifests import is_manifest, read_manifest
from pipelines.inputs.skipped import Skipped, in_words
from pipelines.inputs.versions import Found, file_version
from pipelines.storage.errors import AccessDenied
from pipelines.storage.uris import (
    canonical,
    clip_id,
    is_local,
    local_path,
    local_uri,
    named_path,
    refuse_credentials,
)
from tagger.errors import CommandError
from tagger.recording import AUDIO_SUFFIXES

CHUNK_ROWS: Final = 50_000

ReadManifest = Callable[[str], Iterator[Found]]
"""Gives the clips of the manifest at a canonical URI."""

_MAGIC: Final = re.compile(r"[*?\[]")
_log = logging.getLogger(__name__)


def gather(
    inputs: Sequence[str],
    skipped: Skipped | None = None,
    follow_links: bool = False,
    access: Access = ANY,
) -> pa.Table:
    """Every clip that ``inputs`` name, once: a table of schema ``LISTING``.

    Parameters
    ----------
    inputs : paths, URIs, globs, manifests
    skipped : takes note of what was passed over
    follow_links : below a folder, also where they lead out of it, and to folders
    access : how much may be read, from where, and for how long a store is waited for

    Raises
    ------
    CommandError : an input that cannot be listed as given
    AccessDenied, StoreUnavailable : an object store gave out, or a folder may not be listed
    """
    extras = Extras()
    skipped = Skipped() if skipped is None else skipped
    return extras.restored(gather_kept(inputs, skipped, follow_links, access, extras))


def gather_kept(
    inputs: Sequence[str], skipped: Skipped, follow_links: bool, access: Access, extras: Extras
) -> pa.Table:
    """The clips as ``gather`` gives them, of schema ``KEPT``: their extra is kept in ``extras``."""
    read = partial(read_manifest, access=access, extras=extras)
    tables = list(list_clips(inputs, skipped, follow_links, access, read))
    clips = without_duplicates(tables, skipped)
    _log.info("listed %d clips; passed over: %s", len(clips), in_words(skipped))
    return clips


def list_clips(
    inputs: Iterable[str],
    skipped: Skipped,
    follow_links: bool = False,
    access: Access = ANY,
    read: ReadManifest = read_manifest,
) -> Iterator[pa.Table]:
    """The clips of ``inputs`` as they are found, duplicates included: tables of ``CHUNK_ROWS``."""
    found = (row for text in inputs for row in _find(text, skipped, follow_links, access, read))
    while rows := list(islice(found, CHUNK_ROWS)):
        uris, versions, sizes, extras, problems = zip(*rows, strict=True)
        ids = list(map(clip_id, uris, versions))
        columns = (ids, uris, versions, sizes, extras, problems)
        yield pa.Table.from_arrays(
            [pa.array(column, field.type) for column, field in zip(columns, KEPT, strict=True)],
            schema=KEPT,
        )


def without_duplicates(tables: Sequence[pa.Table], skipped: Skipped) -> pa.Table:
    """One table with each uri once: its first row, or the first that brings ``extra``."""
    table = pa.concat_tables([KEPT.empty_table(), *tables])
    uri: Any = table["uri"].dictionary_encode().combine_chunks()
    if len(uri.dictionary) == len(table):
        return table
    codes = uri.indices.to_numpy()
    order = np.argsort(table["extra"].is_null().to_numpy(), kind="stable")
    _, first = np.unique(codes[order], return_index=True)
    keep = np.sort(order[first])
    skipped["duplicate"] += len(table) - len(keep)
    return table.take(keep)


def _find(
    text: str, skipped: Skipped, follow_links: bool, access: Access, read: ReadManifest
) -> Iterator[Found]:
    refuse_credentials(text, "INPUT")
    if not local_path(text):
        raise CommandError("INPUT is empty; name a file, a folder, a glob or a prefix")
    if is_local(text):
        path = os.path.abspath(os.path.expanduser(named_path(text)))  # noqa: PTH100, PTH111
        return _find_local(path, skipped, follow_links, read)
    return _find_remote(canonical(text), skipped, access, read)


def _find_local(
    path: str, skipped: Skipped, follow_links: bool, read: ReadManifest
) -> Iterator[Found]:
    try:
        status = os.stat(path)  # noqa: PTH116 (Path would be slower and say no more)
    except PermissionError as error:
        raise AccessDenied(f"{path!r} may not be read: check its permissions") from error
    except (OSError, ValueError) as error:
        if glob.has_magic(path):
            return _walk_glob(path, skipped, follow_links)
        why = getattr(error, "strerror", None) or str(error)
        raise CommandError(f"{path!r}: {why.lower()}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        return Walk(path, _has_suffix, skipped, follow_links).files()
    if not stat.S_ISREG(status.st_mode):
        raise CommandError(f"{path!r} is neither a file nor a folder; name one of these")
    uri = local_uri(path)
    if is_manifest(uri):
        return read(uri)
    return iter([Found(uri, file_version(status), status.st_size)])


def _find_remote(uri: str, skipped: Skipped, access: Access, read: ReadManifest) -> Iterator[Found]:
    single = Found(uri) if uri.endswith("/") else object_stores.look_up([uri], access)[0]
    if single.version:
        return read(uri) if is_manifest(uri) else iter([single])
    is_folder = partial(object_stores.is_folder, access=access)
    if glob.has_magic(uri) and not is_folder(uri):
        folder, below = _split_glob(uri.rstrip("/"), is_folder)
        matches, wanted = _glob(f"{glob.escape(folder)}/{below}")
        literal = f"{folder}/{_MAGIC.split(below, maxsplit=1)[0]}"
        found = (row for row in object_stores.find_from(literal, access) if matches(row.uri))
        return _kept(found, skipped, wanted, access)
    if single.problem:
        raise CommandError(f"{uri!r} cannot be read: {single.problem.partition(': ')[2]}")
    if is_manifest(uri) or _has_suffix(uri):
        raise CommandError(f"{uri!r}: no such object; check the name")
    return _kept(object_stores.find_below(uri, access), skipped, _has_suffix, access)


def _kept(
    found: Iterable[Found], skipped: Skipped, wanted: Callable[[str], bool], access: Access
) -> Iterator[Found]:
    """The clips among the objects of a store; sidecars show when all others are known."""
    doubtful = []
    for row in found:
        if not wanted(row.uri):
            if not row.uri.endswith("/"):  # as S3 consoles mark a folder
                skipped["suffix"] += 1
        elif sidecars.owner(row.uri):
            doubtful.append(row)
        else:
            yield row
    owners = object_stores.look_up([sidecars.owner(row.uri) or "" for row in doubtful], access)
    for row, owner in zip(doubtful, owners, strict=True):
        if owner.version or sidecars.lies_among_sidecars(row.uri):
            skipped.note("sidecar", row.uri)
        else:
            yield row


def _has_suffix(name: str) -> bool:
    return name[name.rfind(".") :].lower() in AUDIO_SUFFIXES


def _split_glob(pattern: str, is_folder: Callable[[str], bool]) -> tuple[str, str]:
    """The folder that a glob starts from, whatever letters its name has, and the glob below it."""
    parts = pattern.split("/")
    n_literal = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    while n_literal < len(parts) - 1 and is_folder("/".join(parts[: n_literal + 1])):
        n_literal += 1
    return "/".join(parts[:n_literal]), "/".join(parts[n_literal:])


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


def _walk_glob(pattern: str, skipped: Skipped, follow_links: bool) -> Iterator[Found]:
    folder, below = _split_glob(pattern, os.path.isdir)
    if not os.path.isdir(folder or "/"):  # noqa: PTH112
        raise CommandError(f"{folder!r}: no such folder; check the path")
    n_literal = folder.count("/") + 1
    parts = f"{glob.escape(folder)}/{below}".split("/")
    matches, wanted = _glob("/".join(parts))
    depth_open = parts.index("**") if "**" in parts else len(parts)
    level = {depth: _glob("/".join(parts[:depth]))[0] for depth in range(n_literal, depth_open + 1)}

    def enter(path: str) -> bool:
        depth = path.count("/") + 1
        return depth > depth_open or bool(level[depth](path))

    return Walk(folder or "/", wanted, skipped, follow_links, matches, enter).files()
