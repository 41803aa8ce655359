"""The recordings behind segments: their names, and which version of each is the current one."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.output.forgotten import Forgotten
from pipelines.searching.table_files import TableFiles
from pipelines.storage.uris import canonical, named_uri

_COLUMNS: Final = ["clip_id", "uri", "processed_at"]


def clips_named(tables: TableFiles, text: str) -> pa.Table:
    """The clips that a clip_id, a URI or a path names, all versions of a URI, current first.

    Columns: clip_id, uri, processed_at, entry.
    """
    uris = pa.array({canonical(text), named_uri(text)})
    by_uri = tables.rows_where("clips", "uri", uris, _COLUMNS)
    if not len(by_uri):
        by_uri = tables.rows_where("clips", "clip_id", pa.array([text]), _COLUMNS)
    return by_uri.sort_by([("processed_at", "descending"), ("clip_id", "ascending")])


def current_uris(tables: TableFiles, clip_ids: pa.Array) -> Mapping[str, str]:
    """The URIs of those clips that are the current version of a recording, by clip_id.

    Recordings that a ``forget`` is about to erase are left out too.

    Raises
    ------
    FileNotFoundError : clips are not in the table
    """
    named = tables.rows_where("clips", "clip_id", clip_ids.unique(), ["clip_id", "uri"])
    n_missing = pc.count_distinct(clip_ids).as_py() - pc.count_distinct(named["clip_id"]).as_py()
    if n_missing:
        raise FileNotFoundError(f"{n_missing} clips of the table embeddings are not in clips")
    versions = tables.rows_where("clips", "uri", named["uri"].unique(), _COLUMNS)
    ordered = versions.sort_by([("processed_at", "descending"), ("clip_id", "ascending")])
    current: dict[str, str] = {}
    for clip_id, uri in zip(*(ordered[name].to_pylist() for name in _COLUMNS[:2]), strict=True):
        current.setdefault(uri, clip_id)
    pending = {*Forgotten.read(tables.store).pending}
    return {clip_id: uri for uri, clip_id in current.items() if uri not in pending}
