"""What a job is told is checked when it is made."""

from typing import Any, get_args

import pytest

from pipelines.runtime.limits import Limits, Resources, TrainResources
from pipelines.tagging.job import EmbeddingDtype, TagJob
from tagger.errors import OptionError
from tagger.schema import EMBEDDING_DTYPES


def test_defaults_are_valid() -> None:
    job = TagJob(inputs=("in",), out="out")
    assert job.top_k == 3
    assert job.resources == Resources()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("top_k", 0),
        ("threshold", 1.5),
        ("threshold", -0.1),
        ("threshold", float("nan")),
        ("max_failed", 2.0),
        ("limit", 0),
        ("store_patience_s", 0.0),
        ("model", "s3://key:secret@bucket/model"),
        ("out", "s3://key:secret@bucket/out"),
    ],
)
def test_a_value_out_of_range_names_its_option(option: str, value: object) -> None:
    fields: dict[str, Any] = {"out": "out", option: value}
    with pytest.raises(OptionError) as refused:
        TagJob(inputs=("in",), **fields)
    assert refused.value.option == option
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "option", ["clip_timeout_s", "max_hours", "max_hours_per_mb", "clip_memory_mb"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_limits_are_greater_than_zero(option: str, value: float) -> None:
    wrong: dict[str, Any] = {option: value}
    with pytest.raises(OptionError, match=f"{option} must be greater than 0"):
        Limits(**wrong)


def test_resources_are_not_negative() -> None:
    with pytest.raises(OptionError, match="cpus must be greater than 0"):
        Resources(cpus=0)
    with pytest.raises(OptionError, match="gpus must be 0 or more"):
        Resources(gpus=-1)
    assert Resources(gpus=0).gpus == 0
    with pytest.raises(OptionError, match="workers must be greater than 0"):
        TrainResources(workers=0)
    with pytest.raises(OptionError, match="cpus_per_worker must be greater than 0"):
        TrainResources(cpus_per_worker=0)


def test_the_types_of_embeddings_are_those_of_the_table() -> None:
    assert get_args(EmbeddingDtype) == (*EMBEDDING_DTYPES,)
