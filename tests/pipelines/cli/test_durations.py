"""Lengths of time as people type them."""

from datetime import timedelta

import pytest

from pipelines.cli.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "hours"),
    [("90m", 1.5), ("26h", 26), ("2d", 48), ("1d12h", 36), ("3600s", 1), ("0.5h", 0.5)],
)
def test_texts_that_name_a_time(text: str, hours: float) -> None:
    assert parse_duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "26", "h", "26 h", "-1h", "1h x", "0h", "1w", "1h,5m", "๓h"])
def test_texts_that_name_none(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        parse_duration(text)
