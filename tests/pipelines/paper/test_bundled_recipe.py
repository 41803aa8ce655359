"""How the bundled model is made, as data."""

import json
from pathlib import Path

import pytest

from pipelines.paper.bundled_recipe import RECIPE
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.splits import parts
from pipelines.training.workfolder.plain import from_plain
from tagger.configs import AttentionConfig
from tests.support.small_data import without_sound

VERSION_1 = json.loads(
    (Path(__file__).parents[2] / "golden" / "version_1" / "recipes.json").read_text()
)


def test_specs_of_version_1_are_read():
    extractors = [from_plain(ExtractorSpec, spec) for spec in VERSION_1["bundled extractors"]]
    assert [spec.name for spec in extractors] == [spec.name for spec in RECIPE.teachers()]
    assert not any(spec.shift for spec in extractors)
    heads = [from_plain(HeadSpec, spec) for spec in VERSION_1["bundled heads"]]
    assert [head.network for head in heads] == [AttentionConfig()]


EVERY = [*RECIPE.teachers(), *RECIPE.extractors()]


@pytest.mark.parametrize("spec", EVERY, ids=lambda spec: spec.name)
def test_it_measures_only_what_it_has_not_seen(spec):
    assert spec.training.patience is None  # nothing is chosen on the fold that is measured
    split = parts(without_sound(80, folds=True), spec.split)
    assert not set(split.train) & set(split.test)
    assert len(split.validation) == 0


@pytest.mark.parametrize("spec", RECIPE.extractors(), ids=lambda spec: spec.name)
def test_its_teachers_have_not_heard_what_it_is_measured_on(spec):
    """They are all those of its split."""
    splits = {teacher.name: teacher.split for teacher in RECIPE.teachers()}
    assert {splits[name] for name in spec.teachers} == {spec.split}
    assert len(spec.teachers) == len(RECIPE.seeds)


def test_every_fold_is_measured_and_everything_is_published():
    assert {spec.split for spec in RECIPE.extractors()} == {
        *(f"fold-{k}" for k in range(1, 5)),
        "all",
    }
