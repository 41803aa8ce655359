"""Where a command itself leads: the hosts and folders that its inputs name.

A manifest's own folder counts as named when the manifest is a local file, since a list commonly
lies beside or above what it lists. That of a manifest elsewhere does not.
"""

import glob
import os
from collections.abc import Sequence

from pipelines.inputs.access import Access, InputLimits
from pipelines.inputs.manifests import is_manifest
from pipelines.storage.uris import is_local, local_path, named_path
from pipelines.storage.web import is_web, origin


def access_of(inputs: Sequence[str], limits: InputLimits, patience_s: float) -> Access:
    """How a job reads what these inputs name."""
    origins = frozenset(origin(text) for text in inputs if is_web(text))
    local = (named_path(text) for text in inputs if is_local(text) and local_path(text))
    paths = [os.path.abspath(os.path.expanduser(path)) for path in local]  # noqa: PTH100, PTH111
    folders = tuple(os.path.realpath(folder) for path in paths if (folder := _folder(path)))
    return Access(limits, patience_s, origins, folders)


def _folder(path: str) -> str:
    """The folder that a local input names; "" where it names a file."""
    if os.path.isdir(path):  # noqa: PTH112
        return path
    if os.path.exists(path):  # noqa: PTH110
        return os.path.dirname(path) if is_manifest(path) else ""  # noqa: PTH120
    parts = path.split("/")
    n_literal = next((i for i, part in enumerate(parts) if glob.has_magic(part)), 0)
    while n_literal and os.path.isdir("/".join(parts[: n_literal + 1])):  # noqa: PTH112
        n_literal += 1
    return "/".join(parts[:n_literal])
