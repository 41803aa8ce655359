"""How the bundled model is made, as data."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.paper.bundled_recipe import RECIPE
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.splits import parts
from pipelines.training.workfolder.plain import from_plain
from tests.support.small_data import without_sound

VERSION_1 = json.loads(
    (Path(__file__).parents[2] / "golden" / "version_1" / "recipes.json").read_text()
)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))


def test_specs_are_those_of_version_1():
    prepare = asdict(RECIPE.prepare("d", "w"))
    assert prepare.items() >= VERSION_1["bundled prepare"].items()
    for kind, specs in ((ExtractorSpec, RECIPE.extractors()), (HeadSpec, RECIPE.heads())):
        name = "extractors" if kind is ExtractorSpec else "heads"
        assert list(specs) == [from_plain(kind, spec) for spec in VERSION_1[f"bundled {name}"]]
    assert plain(RECIPE.members(RECIPE.extractors())) == VERSION_1["bundled members"]


@pytest.mark.parametrize("spec", RECIPE.extractors(), ids=lambda spec: spec.name)
def test_it_measures_only_what_it_has_not_seen(spec):
    assert spec.training.patience is None  # nothing is chosen on the fold that is measured
    split = parts(without_sound(80, folds=True), spec.split)
    assert not set(split.train) & set(split.test)
    assert len(split.validation) == 0


def test_every_fold_is_measured_and_everything_is_published():
    assert {spec.split for spec in RECIPE.extractors()} == {
        *(f"fold-{k}" for k in range(1, 5)),
        "all",
    }
