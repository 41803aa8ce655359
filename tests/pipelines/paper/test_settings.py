"""The networks of a row on a data set: the very specs that earlier versions wrote down."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.paper.recipes import EXTRACTORS, HEADS
from pipelines.paper.settings import SETTINGS, Start, divisions
from pipelines.training.specs import CLASSIFIER, ExtractorSpec, HeadSpec
from pipelines.training.splits import parts
from pipelines.training.workfolder.plain import from_plain
from tagger.configs import LSTMConfig, VGGishConfig
from tests.support.small_data import without_sound

VERSION_1 = json.loads(
    (Path(__file__).parents[2] / "golden" / "version_1" / "recipes.json").read_text()
)


PARTS = without_sound(9473, n_test=1600)
FOLDS = without_sound(80, folds=True)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))


@pytest.mark.parametrize("name", SETTINGS)
def test_specs_are_those_of_version_1(name):
    """So a work folder of version 1 is gone on with, and its networks are found."""
    setting = SETTINGS[name]
    prepare = asdict(setting.prepare("d", "w", 3))
    assert prepare.items() >= VERSION_1[f"{name} prepare"].items()
    found = setting.extractors(EXTRACTORS, PARTS, Start(), 3)
    assert found == {
        kind: [from_plain(ExtractorSpec, spec) for spec in specs]
        for kind, specs in VERSION_1[f"{name} extractors"].items()
    }
    start = Start("/vggish", VGGishConfig((1, 2, 3, 4), 5))
    found = {
        kind: [[spec.start, spec.vggish, spec.normalise] for spec in specs]
        for kind, specs in setting.extractors(EXTRACTORS, PARTS, start, 0).items()
    }
    assert plain(found) == VERSION_1[f"{name} from a model"]


def test_the_paper_s_heads_are_those_of_version_1():
    """Those of the setting reduced are trained by steps now."""
    found = SETTINGS["paper"].heads([CLASSIFIER, *HEADS, "A"], 3)
    assert list(found) == [from_plain(HeadSpec, spec) for spec in VERSION_1["paper heads"]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("small", without_sound(500, n_test=10)),
        ("folds", FOLDS),
        ("dealt", without_sound(20)),
    ],
)
def test_splits_are_those_of_version_1(name, data):
    for setting in SETTINGS.values():
        found = {
            kind: [[spec.name, spec.split] for spec in specs]
            for kind, specs in setting.extractors(EXTRACTORS, data, Start(), 3).items()
        }
        assert found == VERSION_1[f"splits of {name}"]


def test_heads_are_what_the_paper_says():
    heads = {head.name: head for head in SETTINGS["paper"].heads([*HEADS], 0)}
    assert heads["A"].network.n_segments == 1
    assert heads["A"].network.hidden == 600
    assert heads["A"].network.dropout == 0.4
    assert heads["B"].network == LSTMConfig(600)
    assert heads["F-10"].network.n_segments == 10
    assert [heads[name].copies > 0 for name in "ABCD"] == [False] * 3 + [True]


def test_heads_upon_few_clips_get_a_thousand_steps_at_least():
    """Early stopping counts from the first validation on, and waits for 1,000 steps."""
    for head in SETTINGS["reduced"].heads([*HEADS], 0):
        training = head.training
        assert training.patience * training.steps_per_epoch >= 1000
        assert training.epochs * training.steps_per_epoch >= 1500


def test_the_four_extractors_of_section_2_2():
    made = SETTINGS["paper"].extractors(EXTRACTORS, PARTS, Start(), 0)
    (first,), (last,) = made["balanced-first"], made["balanced-last"]
    (unbalanced,) = made["unbalanced-first"]
    assert len(parts(PARTS, first.split).train) == 8000
    assert len(parts(PARTS, last.split).validation) == 1473
    assert (first.training.batches, unbalanced.training.batches) == ("balanced", "unbalanced")
    assert unbalanced.training.batch_size == 41
    assert first.vggish.hidden == 4096


def test_every_fold_has_its_own_extractors_that_have_not_seen_it():
    assert [division.name for division in divisions(FOLDS)] == [f"fold-{k}" for k in range(1, 5)]
    for specs in SETTINGS["paper"].extractors(EXTRACTORS, FOLDS, Start(), 0).values():
        tested = []
        for spec in specs:
            split = parts(FOLDS, spec.split)
            tested += split.test.tolist()
            assert not set(split.test) & {*split.train, *split.validation}
            assert len(split.validation) or spec.training.patience is None
        assert sorted(tested) == list(range(80))


def test_clips_without_folds_or_test_are_dealt_out_to_five_folds():
    data = without_sound(20)
    assert [division.name for division in divisions(data)] == [f"fold-{k}" for k in range(1, 6)]
    every = [parts(data, f"fold-{k}") for k in range(1, 6)]
    assert sorted(np.concatenate([split.test for split in every])) == list(range(20))
    for split in every:
        assert np.bincount(data.truth()[split.test]).tolist() == [2, 2]
