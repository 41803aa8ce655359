"""Outputs whose clips have embeddings of one's own, and a search in them that is slow and plain."""

import io
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.output.log_entry import Entry, Run
from pipelines.output.settings import Settings, open_output
from pipelines.storage.store import Store
from tagger import schema
from tests.support.outputs import MODEL, RUN, add

Row = dict[str, Any]
Vectors = npt.NDArray[Any]

EXTRACTORS = ("first", "second")


@dataclass
class Embedded:
    """A clip that was tagged; ``embeddings`` are (2, n, 128), or (n, 128) by both extractors.

    Its id is its URI's last part and its version.
    """

    name: str
    embeddings: Vectors
    tags: tuple[str, ...] = ("Rain",)
    version: str = "1"
    at: datetime = field(default=datetime(2026, 11, 26, tzinfo=UTC))

    @property
    def uri(self) -> str:
        return f"file:///{self.name}"

    @property
    def clip_id(self) -> str:
        return f"{self.name}-{self.version}"

    def staged(self, dtype: str) -> Row:
        """What differs between the staged rows of clips."""
        both = self.embeddings if self.embeddings.ndim == 3 else np.stack([self.embeddings] * 2)
        n = both.shape[1]
        spans = [{"segment": i, "start_s": 0.96 * i, "end_s": 0.96 * (i + 1)} for i in range(n)]
        return {
            "clip_id": self.clip_id,
            "uri": self.uri,
            "version": self.version,
            "processed_at": self.at,
            "n_segments": n,
            "duration_s": 0.96 * n,
            "tags": [{"rank": i, "tag": tag, "score": 0.5} for i, tag in enumerate(self.tags, 1)],
            "embedding_rows": [{"extractor": name} | span for name in EXTRACTORS for span in spans],
            "embedding_values": both.ravel().astype(dtype),
        }


def begin(store: Store, dtype: str = "float32") -> None:
    """A new output that has all tables but the timeline."""
    tables = ("tags", "embeddings", "failures", "clips")
    open_output(store, Settings(tables, 5, 0.0, dtype, "test"))


def staged(clips: Sequence[Embedded], dtype: str = "float32", model_id: str = MODEL) -> pa.Table:
    """Staged rows of clips."""
    same = {"model_id": model_id, "run_id": RUN.run_id}
    rows = [same | clip.staged(dtype) for clip in clips]
    return pa.Table.from_pylist(rows, schema=schema.staged(dtype))


def publish_clips(
    store: Store,
    clips: Sequence[Embedded],
    dtype: str = "float32",
    model_id: str = MODEL,
    run: Run = RUN,
) -> Entry:
    """Publish an entry of clips."""
    return add(store, staged(clips, dtype, model_id), run, model_id)


def plain_search(
    store: Store,
    direction: Vectors,
    n: int,
    *,
    extractor: str = EXTRACTORS[0],
    per_clip: bool = False,
    tag: str | None = None,
    without: Collection[str] = (),
) -> list[tuple[str, float, float]]:
    """URI, start and score of the best segments, by nothing but loops over rows."""
    rows = {name: _rows(store, name) for name in ("embeddings", "clips", "tags")}
    uris = {row["clip_id"]: row["uri"] for row in rows["clips"]}
    tagged = {row["clip_id"] for row in rows["tags"] if row["tag"] == tag}
    scored = []
    for row in rows["embeddings"]:
        score = _cosine(row["embedding"], direction)
        left_out = row["clip_id"] in without or (tag is not None and row["clip_id"] not in tagged)
        if row["extractor"] == extractor and not left_out and not math.isnan(score):
            scored.append((-score, row["clip_id"], row["segment"], row["start_s"]))
    found: list[tuple[str, float, float]] = []
    seen: set[str] = set()
    for score, clip_id, _, start_s in sorted(scored):
        if not (per_clip and clip_id in seen):
            found.append((uris[clip_id], start_s, -score))
        seen.add(clip_id)
    return found[:n]


def _cosine(embedding: Sequence[float], direction: Vectors) -> float:
    """As float32, as answers have it."""
    length = math.sqrt(math.fsum(x * x for x in embedding))
    if not 0 < length < math.inf:
        return math.nan
    product = math.fsum(x * y for x, y in zip(embedding, direction.tolist(), strict=True))
    return float(np.float32(product / length))


def _rows(store: Store, table: str) -> list[Row]:
    files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(table)]
    return [row for file in files for row in file.to_pylist()]
