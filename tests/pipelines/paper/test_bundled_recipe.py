"""How the bundled model is made, as data."""

import pytest

from pipelines.paper.bundled_recipe import RECIPE
from pipelines.training.splits import parts
from tests.support.small_data import without_sound


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
