"""What is drawn over a spectrogram, as paths of SVG: scores and attention over time.

The ground is 1000 wide, from the beginning of a stretch to its end, and 100 high.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pipelines.reporting.moments import Moment

WIDTH: Final = 1000
HEIGHT: Final = 100
MOST_STEPS: Final = 240  # in one stretch; where there are more, each is the highest of some
_GAP: Final = 1.5  # between the bars of two segments
_MARGIN: Final = 3  # above a score of 1, below a score of 0

Step = tuple[float, float, float]
"""From, to, and a value from 0 to 1."""


class Curves(NamedTuple):
    """The attributes ``d`` of two paths."""

    score: str
    attention: str


def curves(moments: Sequence[Moment], start_s: float, end_s: float) -> Curves:
    """The curves of a tag in a stretch of a recording."""
    scores = _steps(((m.start_s, m.end_s, m.score) for m in moments), start_s, end_s)
    weights = _steps((part for m in moments for part in m.weights()), start_s, end_s)
    return Curves(
        "".join(f"M{a:.5g} {_line(value):.4g}H{b:.5g}" for a, b, value in scores),
        "".join(
            f"M{a + _GAP:.5g} {HEIGHT}V{HEIGHT * (1 - value):.4g}H{max(a, b - _GAP):.5g}V{HEIGHT}Z"
            for a, b, value in weights
        ),
    )


def bars(spans: Iterable[tuple[float, float]], start_s: float, end_s: float) -> str:
    """Spans of time as bars of the full height."""
    steps = _steps(((a, b, 1.0) for a, b in spans), start_s, end_s)
    return "".join(f"M{a:.5g} 0H{max(b, a + 1):.5g}V{HEIGHT}H{a:.5g}Z" for a, b, _ in steps)


def _line(score: float) -> float:
    return HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * score


def _steps(values: Iterable[Step], start_s: float, end_s: float) -> list[Step]:
    """The values within a stretch, in units of the ground, and no more than ``MOST_STEPS``."""
    scale = WIDTH / (end_s - start_s) if end_s > start_s else 0.0
    within = [
        (max(0.0, (a - start_s) * scale), min(WIDTH, (b - start_s) * scale), value)
        for a, b, value in values
        if b > start_s and a < end_s
    ]
    if len(within) <= MOST_STEPS:
        return within
    width = WIDTH / MOST_STEPS
    highest = [0.0] * MOST_STEPS
    for a, b, value in within:
        for place in range(int(a / width), min(MOST_STEPS, int(b / width) + 1)):
            highest[place] = max(highest[place], value)
    return [(i * width, (i + 1) * width, value) for i, value in enumerate(highest) if value]
