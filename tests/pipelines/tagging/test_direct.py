"""Tags of a few clips at once, without Ray and without tables."""

import numpy as np
import pytest
import soundfile

from pipelines.tagging.direct import tagged_rows
from pipelines.tagging.job import TagJob
from tagger import Tagger
from tagger.errors import NoAudioError, OptionError


def test_each_clip_has_the_tags_that_the_library_gives_or_a_reason(tmp_path, tiny_model):
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "b.wav", noise, 16_000)
    (tmp_path / "a.wav").write_bytes(b"")
    job = TagJob(inputs=(str(tmp_path),), out="", model=str(tiny_model), top_k=2)
    empty, tagged = tagged_rows(job)
    assert (empty["reason"], empty["tags"]) == ("empty", [])
    assert (tagged["reason"], tagged["duration_s"]) == (None, 2.0)
    expected = Tagger.load(tiny_model).tag(tmp_path / "b.wav").tags
    scores = {tag["tag"]: tag["score"] for tag in tagged["tags"]}
    assert scores == pytest.approx({tag.tag: tag.score for tag in expected[:2]}, rel=1e-5)


def test_thresholds_of_a_card_that_has_none_are_refused(tmp_path, tiny_model):
    job = TagJob(inputs=(str(tmp_path),), out="", model=str(tiny_model), event_threshold="card")
    with pytest.raises(OptionError, match="has no thresholds; give a number"):
        next(tagged_rows(job))


def test_a_limit_and_no_audio(tmp_path, tiny_model):
    with pytest.raises(NoAudioError):
        next(tagged_rows(TagJob(inputs=(str(tmp_path),), out="", model=str(tiny_model))))
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"")
    job = TagJob(inputs=(str(tmp_path),), out="", model=str(tiny_model), limit=1)
    assert [row["uri"][-5:] for row in tagged_rows(job)] == ["a.wav"]
