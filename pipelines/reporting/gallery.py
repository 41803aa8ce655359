"""The clips of each tag that a page shows: the best, the most doubtful, and some at random.

A clip is one of a tag if the tag is its first, or was heard in it. How strong the tag is in it is
the score of the best bag, or that of the clip where bags have none. The most doubtful are those in
which it is weakest ("least confidence" sampling; Lewis and Gale, 1994). A clip_id is a hash, so the
first ones by clip_id are drawn at random, and are the same every time.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any, Final

from pipelines.output.query import Ask
from pipelines.reporting.hearing import Clip
from pipelines.reporting.moments import Moment, Moments, among, rows

EXCERPT_S: Final = 8.0
KINDS: Final = {"best": "Best", "doubtful": "Most doubtful", "random": "At random"}

Tag = tuple[str, float]
"""A tag of a clip, and its score."""


@dataclass(frozen=True)
class Entry:
    """A clip in the gallery of a tag.

    Attributes
    ----------
    score, strength : of the tag: in the clip, and in its best bag
    kind : one of ``KINDS``
    tags : all of the clip, best first
    none_of_these : whether the clip is too unlike all that the model was trained on
    span : the stretch that is seen and heard, from and to, in seconds
    moments : of the tag, within the span
    """

    clip: Clip
    tag: str
    score: float
    strength: float
    kind: str
    tags: Sequence[Tag]
    none_of_these: bool
    span: tuple[float, float]
    moments: Sequence[Moment] = field(repr=False)


@dataclass(frozen=True)
class Chosen:
    """A clip that was chosen for the gallery of a tag."""

    clip_id: str
    tag: str
    score: float
    strength: float
    kind: str


def choose(
    ask: Ask, scope: str, tags: Sequence[str], n_each: int, of_any_rank: bool = False
) -> dict[str, list[Chosen]]:
    """The clips of each tag.

    Parameters
    ----------
    scope : the clips that are looked at, as SELECT has them behind FROM
    tags : that get a gallery
    n_each : clips of each kind
    of_any_rank : every clip that has a tag is one of it, whatever its rank

    Returns
    -------
    by tag, in the order of ``tags``, those that have clips; of each tag in the order of kinds
    """
    is_one = "true" if of_any_rank else "rank = 1 OR heard_s > 0"
    found = rows(
        ask,
        f"""
        WITH found AS (
            SELECT clip_id, tag, score, coalesce(max_score, score) AS strength
            FROM current_tags SEMI JOIN {scope} AS scope USING (clip_id)
            WHERE ({is_one}) AND {among("tag", tags)}),
        placed AS (
            SELECT *,
                row_number() OVER (PARTITION BY tag ORDER BY strength DESC, clip_id) AS best,
                row_number() OVER (PARTITION BY tag ORDER BY strength, clip_id) AS doubtful,
                row_number() OVER (PARTITION BY tag ORDER BY clip_id) AS random
            FROM found)
        FROM placed WHERE best <= {n_each} OR doubtful <= {n_each} OR random <= {3 * n_each}""",  # noqa: S608 (texts are quoted; only SELECTs are carried out)
    )
    of_tag: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in found:
        of_tag[row["tag"]].append(row)
    return {tag: list(_of_each_kind(of_tag[tag], n_each)) for tag in tags if tag in of_tag}


def _of_each_kind(found: Sequence[Mapping[str, Any]], n_each: int) -> Iterator[Chosen]:
    taken: set[str] = set()
    for kind in KINDS:
        left = sorted((row for row in found if row["clip_id"] not in taken), key=lambda r: r[kind])
        for row in left[:n_each]:
            taken.add(row["clip_id"])
            yield Chosen(row["clip_id"], row["tag"], row["score"], row["strength"], kind)


def in_rounds(galleries: Iterable[Sequence[Chosen]]) -> list[Chosen]:
    """All clips, in the order in which they are left out last: of all tags the first, and so on."""
    by_kind = [
        [[chosen for chosen in gallery if chosen.kind == kind] for kind in KINDS]
        for gallery in galleries
    ]
    turns = (zip_longest(*kinds) for kinds in by_kind)
    rounds = zip_longest(*(list(turn) for turn in turns), fillvalue=())
    return [chosen for turn in rounds for chosen in chain(*turn) if chosen is not None]


def entries(
    chosen: Sequence[Chosen], clips: Mapping[str, Mapping[str, Any]], moments: Moments
) -> list[Entry]:
    """The clips with all that the tables say of them.

    Parameters
    ----------
    clips : rows of ``details``, by clip_id
    """
    return [_entry(one, clips[one.clip_id], moments) for one in chosen if one.clip_id in clips]


def _entry(one: Chosen, row: Mapping[str, Any], moments: Moments) -> Entry:
    clip = Clip(**{name: row[name] for name in Clip._fields})
    of_tag = moments.get((one.clip_id, one.tag), ())
    span = _span(clip.duration_s, row["content_start_s"], of_tag)
    within = [m for m in of_tag if m.end_s > span[0] and m.start_s < span[1]]
    tags = [(tag["tag"], tag["score"]) for tag in row["tags"]]
    return Entry(
        clip,
        one.tag,
        one.score,
        one.strength,
        one.kind,
        tags,
        bool(row["none_of_these"]),
        span,
        within,
    )


def _span(
    duration_s: float, content_start_s: float, moments: Sequence[Moment]
) -> tuple[float, float]:
    """The stretch to show: all of a short clip, else what surrounds the best moment."""
    if duration_s <= EXCERPT_S:
        return 0.0, duration_s
    start_s = content_start_s
    if moments:
        best = max(moments, key=lambda moment: moment.score)
        start_s = (best.start_s + best.end_s - EXCERPT_S) / 2
    start_s = min(max(0.0, start_s), duration_s - EXCERPT_S)
    return start_s, start_s + EXCERPT_S


def details(ask: Ask, clip_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the tables say of clips: their rows of ``clips`` and their tags, by clip_id."""
    facts = ", ".join(
        f"any_value({name}) AS {name}"
        for name in (*Clip._fields[1:], "content_start_s", "n_segments", "none_of_these")
    )
    found = rows(
        ask,
        f"""
        SELECT clip_id, {facts},
            list({{'tag': tag, 'score': score}} ORDER BY rank) AS tags
        FROM current_clips JOIN current_tags USING (clip_id, uri, version, model_id)
        WHERE {among("clip_id", clip_ids)} GROUP BY clip_id""",  # noqa: S608 (as above)
    )
    return {row["clip_id"]: row for row in found}
