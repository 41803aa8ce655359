"""What an output holds, as figures: clips, hours, tags, scores, times, failures, and its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from pipelines.output.query import Ask
from pipelines.output.run_history import RunHistory
from pipelines.reporting.moments import among, rows

N_BINS: Final = 20
MOST_RUNS: Final = 20
MOST_TAGS: Final = 500
N_EXAMPLES: Final = 3
_MOST_BARS: Final = 120
_UNITS: Final = (("day", 1), ("month", 28))
"""What clips are counted by over time unless it is too many, and the least days in it."""


@dataclass(frozen=True)
class TagFigures:
    """A tag in an output.

    Attributes
    ----------
    n_first : clips of which it is the first tag, without those that are none of these
    hours : their length
    score : their mean score
    heard_s : seconds in which it was heard, in whatever clips; None where that is not known
    by_hour : clips recorded in each hour of the day, 24; None where no time is known
    """

    tag: str
    mid: str | None
    n_first: int
    hours: float
    score: float
    heard_s: float | None
    by_hour: Sequence[int] | None


@dataclass(frozen=True)
class FailureFigures:
    """The failures of one reason that are still open; ``examples`` are uri and detail."""

    reason: str
    n: int
    final: bool
    examples: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Overview:
    """The figures of an output.

    Attributes
    ----------
    n_timed : clips of which ``recorded_at`` is known
    n_damaged : clips of which something was lost
    n_novel : clips that are none of the model's tags; None where the model does not tell
    scores : clips by score of their first tag, in ``N_BINS`` bins from 0 to 1
    over_time : clips by the beginning of each ``unit``
    by_hour : clips by hour of the day, 24
    runs : records, the newest first
    """

    model_id: str
    n_clips: int
    hours: float
    n_segments: int
    n_timed: int
    n_damaged: int
    n_novel: int | None
    first_at: datetime | None
    last_at: datetime | None
    scores: Sequence[int]
    tags: Sequence[TagFigures]
    unit: str
    over_time: Sequence[tuple[datetime, int]]
    by_hour: Sequence[int]
    failures: Sequence[FailureFigures]
    runs: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def n_failed(self) -> int:
        return sum(failure.n for failure in self.failures)


def scope_of(runs: Sequence[str]) -> str:
    """The clips that a page is of, as SELECT has them behind FROM."""
    return f"(FROM current_clips WHERE {among('run_id', runs)})" if runs else "current_clips"


def overview(ask: Ask, history: RunHistory, runs: Sequence[str]) -> Overview:
    """The figures of an output, or of what some of its runs tagged."""
    scope = scope_of(runs)
    (totals,) = rows(
        ask,
        f"""
        SELECT (FROM chosen_model) AS model_id, count(*) AS n_clips,
            coalesce(sum(duration_s), 0) / 3600 AS hours,
            coalesce(sum(n_segments), 0)::BIGINT AS n_segments, count(recorded_at) AS n_timed,
            count(damage) AS n_damaged,
            if(count(none_of_these) > 0, count_if(none_of_these), NULL) AS n_novel,
            min(recorded_at) AS first_at, max(recorded_at) AS last_at
        FROM {scope}""",  # noqa: S608 (texts are quoted; only SELECTs are carried out)
    )
    unit, over_time = _over_time(ask, scope, totals["first_at"], totals["last_at"])
    by_hour = _by_hour(ask, scope)
    return Overview(
        **totals,
        scores=_scores(ask, scope),
        tags=_tags(ask, scope, by_hour),
        unit=unit,
        over_time=over_time,
        by_hour=[sum(hours) for hours in zip(*by_hour.values(), strict=True)],
        failures=_failures(ask, runs),
        runs=_runs(history, totals["model_id"], runs),
    )


def _scores(ask: Ask, scope: str) -> list[int]:
    counts = [0] * N_BINS
    for row in rows(
        ask,
        f"""
        SELECT least(floor(score * {N_BINS}), {N_BINS - 1})::INTEGER AS bin, count(*) AS n
        FROM top_tags SEMI JOIN {scope} AS scope USING (clip_id)
        WHERE score IS NOT NULL GROUP BY bin""",  # noqa: S608 (as above)
    ):
        counts[row["bin"]] = row["n"]
    return counts


def _tags(ask: Ask, scope: str, by_hour: Mapping[str, list[int]]) -> list[TagFigures]:
    found = rows(
        ask,
        f"""
        WITH told AS (
            SELECT tag, mid, score, heard_s, duration_s,
                rank = 1 AND none_of_these IS NOT TRUE AS is_first
            FROM current_tags JOIN {scope} AS scope USING (clip_id))
        SELECT tag, any_value(mid) AS mid, count_if(is_first) AS n_first,
            coalesce(sum(duration_s) FILTER (is_first), 0) / 3600 AS hours,
            coalesce(avg(score) FILTER (is_first), 0) AS score, sum(heard_s) AS heard_s
        FROM told GROUP BY tag ORDER BY n_first DESC, heard_s DESC, tag LIMIT {MOST_TAGS}""",  # noqa: S608
    )
    return [TagFigures(**row, by_hour=by_hour.get(row["tag"])) for row in found]


def _by_hour(ask: Ask, scope: str) -> dict[str, list[int]]:
    """Clips in each hour of the day by their first tag."""
    found: dict[str, list[int]] = {}
    for row in rows(
        ask,
        f"""
        SELECT coalesce(tag, '') AS tag, hour(recorded_at) AS hour, count(*) AS n
        FROM top_tags JOIN {scope} AS scope USING (clip_id)
        WHERE recorded_at IS NOT NULL GROUP BY ALL""",  # noqa: S608 (as above)
    ):
        found.setdefault(row["tag"], [0] * 24)[row["hour"]] = row["n"]
    return found


def _over_time(
    ask: Ask, scope: str, first: datetime | None, last: datetime | None
) -> tuple[str, list[tuple[datetime, int]]]:
    """Clips per day, or per month or year where that would be too many bars."""
    if first is None or last is None:
        return "day", []
    days = (last - first).days + 1
    unit = next((unit for unit, least in _UNITS if days / least <= _MOST_BARS), "year")
    found = rows(
        ask,
        f"""
        SELECT date_trunc('{unit}', recorded_at)::TIMESTAMP AS start, count(*) AS n
        FROM {scope} WHERE recorded_at IS NOT NULL GROUP BY start ORDER BY start""",  # noqa: S608
    )
    return unit, [(row["start"], row["n"]) for row in found]


def _failures(ask: Ask, runs: Sequence[str]) -> list[FailureFigures]:
    of_runs = f"WHERE {among('run_id', runs)}" if runs else ""
    found = rows(
        ask,
        f"""
        SELECT reason, count(*) AS n, bool_and(final) AS final,
            max_by({{'uri': uri, 'detail': detail}}, attempted_at, {N_EXAMPLES}) AS examples
        FROM open_failures {of_runs} GROUP BY reason ORDER BY n DESC, reason""",  # noqa: S608
    )
    return [
        FailureFigures(
            row["reason"],
            row["n"],
            row["final"],
            [(one["uri"], one["detail"] or "") for one in row["examples"]],
        )
        for row in found
    ]


def _runs(history: RunHistory, model_id: str, runs: Sequence[str]) -> list[Mapping[str, Any]]:
    of_model = (run for run in history if run["model_id"] == model_id)
    wanted = (run for run in of_model if not runs or run["run_id"] in runs)
    return list(islice(wanted, MOST_RUNS))
