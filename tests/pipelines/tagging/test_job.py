"""What a job is told is checked when it is made."""

from typing import Any

import pytest

from pipelines.runtime.limits import Limits, Resources
from pipelines.tagging.job import TagJob
from tagger.errors import CommandError


def test_defaults_are_valid() -> None:
    job = TagJob(inputs=("in",), out="out")
    assert job.top_k == 3
    assert job.resources == Resources()


@pytest.mark.parametrize(
    ("field", "value", "flag"),
    [
        ("top_k", 0, "--top-k"),
        ("threshold", 1.5, "--threshold"),
        ("threshold", -0.1, "--threshold"),
        ("threshold", float("nan"), "--threshold"),
        ("max_failed", 2.0, "--max-failed"),
        ("limit", 0, "--limit"),
        ("model", "s3://key:secret@bucket/model", "--model"),
        ("out", "s3://key:secret@bucket/out", "--out"),
    ],
)
def test_a_value_out_of_range_names_its_flag(field: str, value: object, flag: str) -> None:
    fields: dict[str, Any] = {"out": "out", field: value}
    with pytest.raises(CommandError, match=flag) as refused:
        TagJob(inputs=("in",), **fields)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "flag"),
    [
        ("clip_timeout_s", "--clip-timeout"),
        ("max_hours", "--max-hours"),
        ("memory_mb", "--clip-memory-mb"),
    ],
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_greater_than_zero(field: str, value: float, flag: str) -> None:
    with pytest.raises(CommandError, match=flag):
        Limits(**{field: value})  # type: ignore[arg-type]


def test_resources_are_not_negative() -> None:
    with pytest.raises(CommandError, match="--cpus"):
        Resources(cpus=0)
    with pytest.raises(CommandError, match="--gpus"):
        Resources(gpus=-1)
    assert Resources(gpus=0).gpus == 0
