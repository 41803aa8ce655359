"""Which recording a clip is of: itself, or where it is one of its audio tracks, the one named so.

The ``uri`` alone does not tell, since a file may really have a name that ends in ``#track=2``.
"""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage.uris import recording_uri

COLUMNS: Final = pa.schema(
    [pa.field(name, pa.string(), nullable=False) for name in ("clip_id", "uri", "version")]
)


def recordings(rows: pa.Table) -> pa.Array:
    """The URI of the recording of each row of a table that has ``COLUMNS``."""
    uris = rows["uri"].combine_chunks()
    may_be_tracks = pc.match_substring_regex(uris, "#track=[0-9]+$")
    if not pc.any(may_be_tracks).as_py():
        return uris
    clips = rows.filter(may_be_tracks).select(COLUMNS.names)
    found = [recording_uri(**clip) for clip in clips.to_pylist()]
    return pc.replace_with_mask(uris, may_be_tracks, pa.array(found, uris.type))
