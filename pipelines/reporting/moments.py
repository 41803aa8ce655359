"""What the model said of clips over time: scores of bags, and how much each segment weighed.

Clips of two bags and more have a timeline in the tables. Of shorter ones it is computed from their
embeddings, where they were kept and the model is at hand.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np

from pipelines.output.query import Ask
from pipelines.output.views import quoted
from tagger.arrays import FloatArray
from tagger.card import ModelFiles
from tagger.logmel import SEGMENT_S

MOST_SEGMENTS: Final = 64  # of a clip whose moments are computed


@dataclass(frozen=True)
class Moment:
    """A tag in one bag of a clip.

    Attributes
    ----------
    attention : a weight per segment of the bag; they sum to 1
    """

    start_s: float
    end_s: float
    score: float
    attention: tuple[float, ...]

    def weights(self) -> Iterable[tuple[float, float, float]]:
        """Start, end and weight of each segment, in seconds of the recording."""
        for number, weight in enumerate(self.attention):
            start_s = self.start_s + number * SEGMENT_S
            yield start_s, min(start_s + SEGMENT_S, self.end_s), weight


Moments = Mapping[tuple[str, str], Sequence[Moment]]
"""Of clips and tags, in order of time: by clip_id and tag."""


def among(column: str, values: Iterable[str]) -> str:
    """A condition of SQL: the column has one of the values."""
    listed = ", ".join(f"'{quoted(value)}'" for value in values)
    return f"{column} IN ({listed})" if listed else "false"


def rows(ask: Ask, sql: str) -> list[dict[str, Any]]:
    """All rows that answer a question."""
    return [row for batch in ask(sql) for row in batch.to_pylist()]


def around_the_best(
    ask: Ask, clip_ids: Collection[str], tags: Collection[str], within_s: float
) -> Moments:
    """Of clips that have a timeline the best moment of each tag, and those near it."""
    found: dict[tuple[str, str], list[Moment]] = defaultdict(list)
    for row in rows(
        ask,
        f"""
        SELECT clip_id, tag, start_s, end_s, score, attention FROM current_timeline
        WHERE {among("clip_id", clip_ids)} AND {among("tag", tags)}
        QUALIFY abs(start_s - arg_max(start_s, score) OVER (PARTITION BY clip_id, tag))
            <= {within_s!r}
        ORDER BY start_s""",  # noqa: S608 (texts are quoted; only SELECTs are carried out)
    ):
        found[row["clip_id"], row["tag"]].append(moment_of(row))
    return found


def moment_of(row: Mapping[str, Any]) -> Moment:
    """A row of the timeline."""
    weights = tuple(row["attention"] or ())
    return Moment(row["start_s"], row["end_s"], row["score"], weights)


def computed(ask: Ask, clip_ids: Collection[str], model: ModelFiles) -> Moments:
    """The moments of short clips, of all tags, from the embeddings in the tables."""
    from tagger.readout import Readout
    from tagger.tagging import Tagger  # torch: seconds that most of the page need not cost

    tagger = Tagger(model)
    readout = Readout(tagger.card.labels, top_k=len(tagger.card.labels))
    clips = dict(_embeddings(ask, clip_ids, [part.name for part in model.card.extractors]))
    predictions = tagger.predict([embeddings for embeddings, _ in clips.values()])
    found: dict[tuple[str, str], list[Moment]] = defaultdict(list)
    for (clip_id, (_, times)), prediction in zip(clips.items(), predictions, strict=True):
        for moment in readout.timeline(prediction, times):
            weights = tuple(moment.attention.tolist())
            found[clip_id, moment.tag].append(
                Moment(moment.start_s, moment.end_s, moment.score, weights)
            )
    return found


def _embeddings(
    ask: Ask, clip_ids: Collection[str], extractors: Sequence[str]
) -> Iterable[tuple[str, tuple[FloatArray, Any]]]:
    """Of each clip (n_extractors, n_segments, 128), and start and end of the segments."""
    found = rows(
        ask,
        f"""
        SELECT clip_id, extractor, start_s, end_s, embedding FROM current_embeddings
        WHERE {among("clip_id", clip_ids)} AND {among("extractor", extractors)}
        ORDER BY clip_id, segment""",  # noqa: S608 (as above)
    )
    for clip_id, of_clip in groupby(found, lambda row: row["clip_id"]):
        by_extractor: dict[str, list[dict[str, Any]]] = {name: [] for name in extractors}
        for row in of_clip:
            by_extractor[row["extractor"]].append(row)
        segments = by_extractor[extractors[0]]
        if segments and {len(part) for part in by_extractor.values()} == {len(segments)}:
            vectors = np.array(
                [[row["embedding"] for row in part] for part in by_extractor.values()], np.float32
            )
            times = tuple(np.array([row[at] for row in segments]) for at in ("start_s", "end_s"))
            yield clip_id, (vectors, times)
