"""Where an output lies: what a person should be told of, although it harms no table."""

import glob
import logging
import os
from contextlib import suppress

from pipelines.inputs.manifests import is_manifest
from pipelines.output import layout
from pipelines.storage.errors import AccessDenied, StoreUnavailable, store_errors
from pipelines.storage.filesystems import filesystem, name_on
from pipelines.storage.retry import with_retries
from pipelines.storage.store import Store
from pipelines.storage.uris import is_local, local_path, named_uri
from pipelines.tagging.job import TagJob

_log = logging.getLogger(__name__)


def warn_of_place(job: TagJob, store: Store) -> None:
    """Warn, in a line each, of an output inside an input, and of one that holds other files."""
    for text in job.inputs:
        if _lies_inside(job.out, text):
            _log.warning(
                "--out %s lies inside INPUT %s: every run lists the files of its tables too; a "
                "folder beside it is better",
                job.out,
                text,
            )
    foreign = [name for name in _top(store) if layout.is_foreign(name)]
    if foreign:
        others = f" and {len(foreign) - 1:,} more" if foreign[1:] else ""
        _log.warning(
            "--out %s holds what is not of this program: %r%s; a folder of its own is better",
            job.out,
            foreign[0],
            others,
        )


def _top(store: Store) -> list[str]:
    """Names right below an output, of folders with a slash; none where that cannot be told."""
    if is_local(store.root):
        with suppress(OSError), os.scandir(store.root) as entries:
            return sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
        return []
    with suppress(AccessDenied, StoreUnavailable, *store_errors()):
        fs = filesystem(store.root)
        below = f"{name_on(fs, store.root)}/"
        found = with_retries(lambda: fs.ls(below, detail=True), store.root, store.patience_s)
        folders = {entry["name"] for entry in found if entry["type"] == "directory"}
        names = [entry["name"] for entry in found if entry["name"].rstrip("/") != below.rstrip("/")]
        return sorted(name.removeprefix(below) + "/" * (name in folders) for name in names)
    return []


def _lies_inside(out: str, text: str) -> bool:
    folder = named_uri(text)
    if is_manifest(folder) or (glob.has_magic(folder) and not _exists(folder)):
        return False
    return _real(named_uri(out)).startswith(_real(folder))


def _exists(uri: str) -> bool:
    return is_local(uri) and os.path.exists(local_path(uri))  # noqa: PTH110


def _real(uri: str) -> str:
    """The name without links, with a slash at its end."""
    path = os.path.realpath(local_path(uri)) if is_local(uri) else uri
    return f"{path.rstrip('/')}/"
