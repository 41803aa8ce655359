"""What QUERY names: a clip of the tables, whose embeddings are there, or a recording to embed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.inputs import listing
from pipelines.inputs.access import Access, InputLimits
from pipelines.inputs.named import access_of
from pipelines.searching.clips import clips_named
from pipelines.searching.recordings import Times, embed_recordings
from pipelines.searching.scan import vectors
from pipelines.searching.table_files import TableFiles
from tagger.arrays import IndexArray, RealArray
from tagger.card import ModelFiles
from tagger.errors import CommandError, OptionError

_COLUMNS: Final = ["extractor", "segment", "start_s", "end_s", "embedding"]


@dataclass(frozen=True)
class Query:
    """The part of a clip or recording that is searched for.

    Attributes
    ----------
    embeddings : of its segments, (n, 128)
    clip_ids : of all versions of the clip, that of the embeddings first; none of a recording
    segments : their numbers
    """

    embeddings: RealArray
    clip_ids: tuple[str, ...] = ()
    segments: frozenset[int] = frozenset()


@dataclass(frozen=True)
class QueryReader:
    """Makes queries of what a command names.

    Parameters
    ----------
    model : the one that made the tables; None: only clips of the tables can be queries
    extractor : whose embeddings are compared
    part_s : seconds of each query that count, from and to; None: all
    """

    files: TableFiles
    model: ModelFiles | None
    extractor: str
    part_s: tuple[float, float] | None

    def __call__(self, texts: Sequence[str]) -> list[Query]:
        """The query that each text names.

        Raises
        ------
        CommandError : a text that names nothing, or a recording that cannot be embedded
        OptionError : no segment lies in the part that counts
        AccessDenied, StoreUnavailable : a store gave out
        """
        clips = [clips_named(self.files, text) for text in texts]
        others = [text for text, rows in zip(texts, clips, strict=True) if not len(rows)]
        access = access_of(others, InputLimits(), self.files.store.patience_s)
        embedded = self._embedded([self._recording(text, access) for text in others], access)
        return [self._of_clip(rows) if len(rows) else next(embedded) for rows in clips]

    def _recording(self, text: str, access: Access) -> pa.Table:
        """The one recording that a text names; schema ``LISTING``."""
        root = self.files.store.root
        try:
            listed = listing.gather([text], access=access)
        except CommandError as error:
            raise CommandError(f"no clip of {root}, and no recording: {error}") from error
        if len(listed) != 1:
            raise CommandError(f"{text} names {len(listed):,} recordings: a QUERY is a single one")
        if self.model is None:
            raise CommandError(
                f"{text} is no clip of {root}: to embed it, name with --model the folder of the "
                f"model {self.files.model_id}, which made these tables"
            )
        return listed

    def _embedded(self, recordings: Sequence[pa.Table], access: Access) -> Iterator[Query]:
        if not recordings:
            return
        assert self.model is not None
        listed = pa.concat_tables(recordings)
        embedded = embed_recordings(listed, self.model, self.extractor, access)
        for uri, (rows, times) in zip(listed["uri"].to_pylist(), embedded, strict=True):
            yield Query(rows[self._counting(times, uri)])

    def _of_clip(self, clips: pa.Table) -> Query:
        """A clip, of which there may be several versions, with the embeddings of the first."""
        clip_ids = clips["clip_id"].to_pylist()
        entry = clips["entry"][0].as_py()
        first = pa.array(clip_ids[:1])
        rows = self.files.rows_where("embeddings", "clip_id", first, _COLUMNS, [entry])
        rows = rows.filter(pc.equal(rows["extractor"], self.extractor))
        times = rows["start_s"].to_numpy(), rows["end_s"].to_numpy()
        chosen = self._counting(times, clips["uri"][0].as_py())
        return Query(
            vectors(rows["embedding"].combine_chunks())[chosen],
            tuple(clip_ids),
            frozenset(rows["segment"].to_numpy()[chosen].tolist()),
        )

    def _counting(self, times: Times, uri: str) -> IndexArray:
        """The segments of which half lies in the part, or in which half of the part lies."""
        start_s, end_s = times
        if self.part_s is None:
            return np.arange(len(start_s))
        first_s, last_s = self.part_s
        shared_s = np.minimum(end_s, last_s) - np.maximum(start_s, first_s)
        half_s = np.minimum(end_s - start_s, last_s - first_s) / 2
        chosen = np.flatnonzero((shared_s > 0) & (shared_s >= half_s - 1e-6))
        if not len(chosen):
            span = f"{start_s.min():.2f} to {end_s.max():.2f} s"
            raise OptionError("segment_s", f"holds no segment of {uri}, which has them from {span}")
        return chosen
