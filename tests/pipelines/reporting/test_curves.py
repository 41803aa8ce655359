"""What is drawn over pictures, read back as coordinates."""

import re

import pytest

from pipelines.reporting.curves import MOST_STEPS, bars, curves
from pipelines.reporting.moments import Moment


def numbers(path):
    return [float(text) for text in re.findall(r"-?[\d.]+(?:e[-+]?\d+)?", path)]


def test_a_score_is_a_level_and_attention_a_bar_for_each_segment():
    drawn = curves([Moment(2.0, 3.92, 0.5, (0.25, 0.75))], 2.0, 4.0)
    assert numbers(drawn.score) == pytest.approx([0, 50, 960])
    assert numbers(drawn.attention) == pytest.approx(
        [1.5, 100, 75, 478.5, 100, 481.5, 100, 25, 958.5, 100]
    )


def test_only_what_lies_in_the_stretch_is_drawn():
    moments = [Moment(6.0 * i, 6.0 * i + 6, 1.0, ()) for i in range(10)]
    drawn = curves(moments, 9.0, 17.0)
    assert numbers(drawn.score) == pytest.approx([0, 3, 375, 375, 3, 1000])
    assert curves(moments, 100.0, 108.0).score == ""


def test_of_many_steps_the_highest_are_kept():
    moments = [
        Moment(float(i), i + 1.0, 1.0 if i == 5_000 else 0.25, (1.0,)) for i in range(10_000)
    ]
    drawn = curves(moments, 0.0, 10_000.0)
    assert drawn.score.count("M") == MOST_STEPS
    levels = numbers(drawn.score)[1::3]
    assert min(levels) == 3  # the top
    assert sum(level == 3 for level in levels) <= 2


def test_events_are_bars_that_can_be_seen():
    a, _, b, *_ = numbers(bars([(1_800.0, 1_800.5)], 0.0, 3_600.0))
    assert a == 500
    assert b - a == pytest.approx(1)
