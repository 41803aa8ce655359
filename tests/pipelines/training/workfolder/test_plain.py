"""Specs to JSON and back."""

import json

import pytest

from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.workfolder.plain import from_plain, to_plain
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig, VGGishConfig


@pytest.mark.parametrize(
    "spec",
    [
        ExtractorSpec(
            name="x",
            split="all",
            vggish=VGGishConfig((1, 2, 3, 4), 5, "none"),
            training=TrainingConfig(epochs=3, patience=None, bfloat16=True),
            copies=2,
        ),
        HeadSpec(name="a", network=AttentionConfig(8, levels=(3,), hidden=7)),
        HeadSpec(name="l", network=LSTMConfig(7)),
    ],
    ids=lambda spec: spec.name,
)
def test_a_spec_comes_back_as_it_was(spec):
    plain = to_plain(spec)
    assert json.loads(json.dumps(plain)) == plain
    found = from_plain(type(spec), plain)
    assert found == spec
    assert hash(found) == hash(spec)  # no list is left in it


def test_what_is_checked_when_it_is_made_is_checked_again():
    plain = to_plain(HeadSpec(name="h")) | {"copies": -1}
    with pytest.raises(ValueError, match="copies"):
        from_plain(HeadSpec, plain)
