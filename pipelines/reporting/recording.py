"""One recording in full: strips of spectrogram, its tags over time, its events, and its sound.

A page that is one file has room for about 25 minutes of sound. Of a longer recording it holds the
stretches with the highest scores, as many as there is room for; a folder holds all of it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from pipelines.output.query import Ask
from pipelines.output.views import quoted
from pipelines.reporting.curves import Curves, bars, curves
from pipelines.reporting.gallery import Tag
from pipelines.reporting.hearing import Clip, Listener
from pipelines.reporting.moments import Moment, computed, moment_of, rows
from pipelines.reporting.page import Keep
from pipelines.reporting.strips import PART_S, Recorder, Span, Spectrogram, Stretch, spans
from pipelines.storage.uris import canonical, named_uri
from tagger.card import ModelFiles
from tagger.errors import ClipError, OptionError

MOST_TAGS: Final = 6
MOST_SOUND_S: Final = 1_500.0  # in one file
MOST_EVENTS: Final = 200
_AROUND_S: Final = 1.0  # that a stretch begins earlier and ends later than what was heard


@dataclass(frozen=True)
class Strip:
    """A part of a recording as one line of the page.

    Attributes
    ----------
    picture : what the page calls its spectrogram; "" without one
    drawn, events : for each tag, what is drawn over it, and the bars below it
    """

    start_s: float
    end_s: float
    picture: str
    drawn: Sequence[Curves] = field(repr=False)
    events: Sequence[str] = field(repr=False)


@dataclass(frozen=True)
class Recording:
    """A recording in full.

    Attributes
    ----------
    facts : its row of ``clips``
    tags : best first, and of those the ones that are drawn
    events : the first ``MOST_EVENTS``
    problem : why there is neither picture nor sound, or ""
    """

    clip: Clip
    facts: Mapping[str, Any]
    tags: Sequence[Tag]
    drawn: Sequence[str]
    events: Sequence[Mapping[str, Any]]
    n_events: int
    strips: Sequence[Strip]
    stretches: Sequence[Stretch]
    problem: str

    @property
    def heard_s(self) -> float:
        """Seconds that can be heard."""
        return sum(stretch.end_s - stretch.start_s for stretch in self.stretches)


@dataclass(frozen=True)
class Told:
    """What the tables say of a recording."""

    clip: Clip
    facts: Mapping[str, Any]
    tags: Sequence[Tag]
    drawn: Sequence[str]
    moments: Mapping[str, Sequence[Moment]] = field(repr=False)
    events: Sequence[Mapping[str, Any]] = field(repr=False)


def ask_for(ask: Ask, name: str, model: ModelFiles | None) -> Told:
    """What the tables say of the recording that a path or URI names.

    Raises
    ------
    OptionError : they hold no such recording
    """
    uris = ", ".join(f"'{quoted(uri)}'" for uri in {name, canonical(name), named_uri(name)})
    found = rows(ask, f"SELECT * FROM current_clips WHERE uri IN ({uris}) LIMIT 1")  # noqa: S608
    if not found:
        raise OptionError("clip", f"names no recording of these tables: {name}")
    (facts,) = found
    clip = Clip(**{name: facts[name] for name in Clip._fields})
    mine = f"WHERE clip_id = '{quoted(clip.clip_id)}'"
    tags = rows(ask, f"SELECT tag, score, heard_s FROM current_tags {mine} ORDER BY rank")  # noqa: S608
    events = rows(
        ask,
        f"SELECT tag, start_s, end_s, peak_score FROM current_events {mine} ORDER BY start_s, tag",  # noqa: S608
    )
    heard: dict[str, float] = defaultdict(float)
    for tag in tags:
        heard[tag["tag"]] = 0.0
    for event in events:
        heard[event["tag"]] += event["end_s"] - event["start_s"]
    drawn = sorted(heard, key=lambda tag: -heard[tag])[:MOST_TAGS]
    moments = _moments(ask, clip, drawn, model)
    return Told(clip, facts, [(tag["tag"], tag["score"]) for tag in tags], drawn, moments, events)


def _moments(
    ask: Ask, clip: Clip, tags: Sequence[str], model: ModelFiles | None
) -> dict[str, Sequence[Moment]]:
    """By tag, in order of time."""
    listed = ", ".join(f"'{quoted(tag)}'" for tag in tags) or "NULL"
    found: dict[str, list[Moment]] = defaultdict(list)
    for row in rows(
        ask,
        f"""
        SELECT tag, start_s, end_s, score, attention FROM current_timeline
        WHERE clip_id = '{quoted(clip.clip_id)}' AND tag IN ({listed}) ORDER BY start_s""",  # noqa: S608
    ):
        found[row["tag"]].append(moment_of(row))
    if not found and model is not None:
        return {tag: of for (_, tag), of in computed(ask, [clip.clip_id], model).items()}
    return dict(found)


def look(told: Told, listener: Listener, keep: Keep, is_one_file: bool) -> Recording:
    """The recording with pictures and sounds."""
    clip = told.clip
    seen = Spectrogram(clip.duration_s, clip.peak)
    problem, stretches, pictures = "", [], [""] * len(spans(clip.duration_s))
    try:
        with closing(listener.blocks(clip, clip.duration_s)) as blocks:
            rate = next(blocks)
            assert isinstance(rate, int)
            recorder = Recorder(_wanted(told, is_one_file), rate, clip.peak, keep)
            sound = (block for block in blocks if isinstance(block, np.ndarray))
            seen.watch(recorder.pass_on(sound), rate)
        stretches = recorder.stretches
        pictures = [keep(data, ".webp") for data in seen.pictures()]
    except ClipError as error:
        problem = f"{error.reason}, {error.detail}"
    return Recording(
        clip,
        told.facts,
        told.tags,
        told.drawn,
        told.events[:MOST_EVENTS],
        len(told.events),
        [
            _strip(told, span, drawn)
            for span, drawn in zip(spans(clip.duration_s), pictures, strict=True)
        ],
        stretches,
        problem,
    )


def _strip(told: Told, span: Span, drawn: str) -> Strip:
    return Strip(
        *span,
        drawn,
        [curves(told.moments.get(tag, ()), *span) for tag in told.drawn],
        [
            bars(((e["start_s"], e["end_s"]) for e in told.events if e["tag"] == tag), *span)
            for tag in told.drawn
        ],
    )


def _wanted(told: Told, is_one_file: bool) -> list[Span]:
    """The stretches to be heard, in order of time."""
    duration_s = told.clip.duration_s
    if is_one_file and duration_s > MOST_SOUND_S:
        return _highest(told, duration_s)
    n_parts = max(1, int(np.ceil(duration_s / PART_S)))
    ends = [min(duration_s, i * PART_S) for i in range(n_parts + 1)]
    return list(pairwise(ends))


def _highest(told: Told, duration_s: float) -> list[Span]:
    """The bags with the highest scores of any tag, as many as there is room for, joined."""
    moments = [moment for of_tag in told.moments.values() for moment in of_tag]
    taken: list[Span] = []
    left_s = MOST_SOUND_S
    for moment in sorted(moments, key=lambda moment: -moment.score):
        span = max(0.0, moment.start_s - _AROUND_S), min(duration_s, moment.end_s + _AROUND_S)
        if span not in taken:
            left_s -= span[1] - span[0]
            if left_s < 0:
                break
            taken.append(span)
    return _joined(taken) or [(0.0, MOST_SOUND_S)]


def _joined(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end_s, joined[-1][1])
        else:
            joined.append((start_s, end_s))
    return joined
