"""From outcomes to rows of schema ``staged``."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.tagging.job import TagJob
from pipelines.tagging.staged_rows import (
    RowSettings,
    TaggedClip,
    _lists,
    left_out,
    output_settings,
    staged_rows,
)
from tagger import schema
from tagger.audio import Signal
from tagger.calibration import Calibration
from tagger.card import read_model
from tagger.errors import ClipError, OptionError, Reason, Stage
from tagger.tagging import Tagger
from tests.support.tiny_model import save_tiny_model

SIGNAL = Signal(10.0, 44_100, 2, 1.5, 8.7, 0.25, "cut off")


@pytest.fixture(scope="module")
def tagger(tiny_model: Path) -> Tagger:
    return Tagger.load(tiny_model)


def listing(n: int) -> pa.Table:
    rows = [
        {"clip_id": f"{i}", "uri": f"file:///{i}", "version": "v", "size_bytes": i, "extra": None}
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=schema.LISTING)


def tagged(tagger: Tagger, n_segments: int) -> TaggedClip:
    shape = (len(tagger.extractors), n_segments, 128)
    embeddings = np.random.default_rng(n_segments).standard_normal(shape).astype(np.float32)
    (prediction,) = tagger.predict([embeddings])
    return TaggedClip(SIGNAL, embeddings, prediction)


def rows_of(tagger: Tagger, outcomes: list[TaggedClip | ClipError], **job: Any) -> pa.Table:
    settings = RowSettings.of(TagJob(inputs=(), out="", **job), "m-1", "r-1")
    return staged_rows(listing(len(outcomes)), outcomes, tagger, settings)


def test_the_time_of_a_recording_is_of_the_pattern_the_header_or_the_name(tagger: Tagger) -> None:
    def recorded_at(name: str, in_header: str | None, pattern: str | None = None) -> Any:
        made = replace(tagged(tagger, 1), signal=replace(SIGNAL, recorded_at=in_header))
        clips = listing(1).set_column(1, schema.LISTING.field("uri"), pa.array([name]))
        job = TagJob(inputs=(), out="", recorded_at=pattern)
        table = staged_rows(clips, [made], tagger, RowSettings.of(job, "m-1", "r-1"))
        return table["recorded_at"][0].as_py()

    name, header = "s3://b/2020-02-03/20240131_063005.wav", "2021-05-06T07:08:09"
    assert recorded_at(name, None) == datetime(2024, 1, 31, 6, 30, 5)
    assert recorded_at(name, header) == datetime(2021, 5, 6, 7, 8, 9)
    assert recorded_at(name, header, "%Y-%m-%d") == datetime(2020, 2, 3)
    assert recorded_at("s3://b/a.wav", header, "%Y-%m-%d") is None
    assert recorded_at("s3://b/a.wav", None) is None


def test_a_tagged_clip_has_everything_about_it_in_one_row(tagger: Tagger) -> None:
    clip = tagged(tagger, 7)
    table = rows_of(tagger, [clip], timeline=True)
    (row,) = table.to_pylist()
    assert table.schema == schema.staged("float32")
    assert (row["model_id"], row["run_id"], row["reason"]) == ("m-1", "r-1", None)
    assert (row["duration_s"], row["peak"], row["damage"]) == (10.0, 0.25, "cut off")
    assert row["n_segments"] == 7
    assert [tag["rank"] for tag in row["tags"]] == [1, 2, 3]
    assert sum(tag["score"] for tag in row["tags"]) == pytest.approx(1.0)
    assert {tag["tag"]: tag["mid"] for tag in row["tags"]}["Dog"] == "/m/0bt9lr"
    names = [place["extractor"] for place in row["embedding_rows"]]
    assert names == ["a"] * 7 + ["b"] * 7
    assert [place["segment"] for place in row["embedding_rows"]] == [*range(7)] * 2
    starts = [place["start_s"] for place in row["embedding_rows"][:7]]
    assert starts == pytest.approx([1.5 + 0.96 * i for i in range(7)])
    assert row["embedding_rows"][6]["end_s"] <= 8.7
    np.testing.assert_array_equal(row["embedding_values"], clip.embeddings.reshape(-1))
    assert {moment["bag"] for moment in row["timeline"]} == {0, 1}
    assert len(row["timeline"][0]["attention"]) == 6


def test_a_failed_clip_has_its_reason_and_nothing_else(tagger: Tagger) -> None:
    outcomes: list[TaggedClip | ClipError] = [
        ClipError(Reason.TIMEOUT, "too slow"),
        tagged(tagger, 1),
        ClipError(Reason.UNREADABLE, "not permitted", Stage.READ),
    ]
    rows = rows_of(tagger, outcomes).to_pylist()
    failure = [rows[0][name] for name in ("stage", "reason", "detail", "final")]
    assert failure == ["decode", "timeout", "too slow", False]
    assert rows[2]["stage"] == "read"
    for row in (rows[0], rows[2]):
        assert row["tags"] == row["timeline"] == row["embedding_rows"] == []
        assert row["embedding_values"] == []
        assert row["duration_s"] is None
    assert len(rows[1]["embedding_rows"]) == 2


def test_only_failures_make_a_batch_too(tagger: Tagger) -> None:
    table = rows_of(tagger, [ClipError(Reason.EMPTY, "no bytes")])
    assert table.schema == schema.staged("float32")
    assert table["final"].to_pylist() == [True]


def test_embeddings_are_halved_or_left_out(tagger: Tagger) -> None:
    clip = tagged(tagger, 2)
    halved = rows_of(tagger, [clip], embedding_dtype="float16")
    assert halved.schema == schema.staged("float16")
    np.testing.assert_allclose(
        halved["embedding_values"].to_pylist()[0], clip.embeddings.reshape(-1), rtol=2e-3, atol=1e-6
    )
    (without,) = rows_of(tagger, [clip], embeddings=False).to_pylist()
    assert without["embedding_rows"] == without["embedding_values"] == []
    assert without["n_segments"] == 2


def test_more_values_than_a_list_column_holds_are_no_silent_wrap(tagger: Tagger) -> None:
    part = np.broadcast_to(np.float32(0), (2**30,))
    with pytest.raises(pa.ArrowInvalid, match="not in range"):
        _lists([part, part], pa.nulls(0), schema.staged("float32"), "embedding_rows")


def test_top_k_and_threshold_choose_the_tags(tagger: Tagger) -> None:
    clip = tagged(tagger, 2)
    (one,) = rows_of(tagger, [clip], top_k=1).to_pylist()
    assert len(one["tags"]) == 1
    (none,) = rows_of(tagger, [clip], threshold=1.0).to_pylist()
    assert none["tags"] == []


def test_thresholds_are_of_the_card_where_it_has_any(tmp_path: Path) -> None:
    calibration = Calibration(1.0, (0.5, None, 0.25))
    with_, without = (
        read_model(save_tiny_model(tmp_path / name, calibration=found)).card
        for name, found in (("with", calibration), ("without", None))
    )
    said, unsaid, card = (
        TagJob(inputs=(), out="", threshold=value) for value in (0.125, None, "card")
    )
    assert output_settings(said, with_).threshold == 0.125
    assert output_settings(unsaid, with_).threshold == output_settings(card, with_).threshold
    assert output_settings(unsaid, with_).event_threshold == "card"
    numbers = output_settings(unsaid, without)
    assert (numbers.threshold, numbers.event_threshold) == (0.0, 0.5)
    with pytest.raises(OptionError, match="tiny has no thresholds; give a number") as caught:
        output_settings(card, without)
    assert caught.value.option == "threshold"
    assert left_out(card) == ["event_threshold"]


def test_a_clip_may_have_no_tag_at_all(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", calibration=Calibration(1.0, (None, None, 1.0)))
    never = Tagger.load(model)
    (row,) = rows_of(never, [tagged(never, 13)]).to_pylist()
    assert row["tags"] == row["events"] == row["timeline"] == []
    assert (row["n_segments"], row["reason"]) == (13, None)
    (row,) = rows_of(never, [tagged(never, 13)], threshold=0.0).to_pylist()
    assert len(row["tags"]) == 3
