"""The rows of the paper as recipes, and the bundled model's."""

import math

import numpy as np
import pandas as pd
import pytest

from pipelines.paper import reproduce
from pipelines.paper.jobs import ReproduceJob
from pipelines.paper.recipes import ALL_FOUR, BUNDLED, EVERY_COPY, ROWS, SETTINGS, divisions
from pipelines.training.splits import parts
from tagger.configs import LSTMConfig
from tagger.dataset import Dataset
from tagger.errors import CommandError
from tagger.labels import LabelSet

PAPER = SETTINGS["paper"]


def dataset(folds: bool, n: int = 9473, n_test: int = 0) -> Dataset:
    number = np.arange(n + n_test)
    clips = pd.DataFrame(
        {
            "name": [f"{i}.wav" for i in number],
            "label": np.where(number % 2, "b", "a"),
            "fold": pd.array(1 + number // 2 % 4 if folds else [None] * len(number), "Int64"),
            "split": np.where(number < n, "train", "test"),
            "usage": pd.array([None] * len(number), "string"),
        }
    )
    return Dataset("csv", LabelSet.of(["a", "b"]), clips)


def test_the_paper_s_figures():
    """Tables 2, 3 and 4, copied from the paper a second time."""
    paper = {row.key: row.paper for row in ROWS if not math.isnan(row.paper)}
    of_table = {
        table: [figure for key, figure in paper.items() if key.startswith(table)] for table in "234"
    }
    assert of_table["2"] == [0.704, 0.606, 0.870, 0.864, 0.891, 0.858, 0.872, 0.892, 0.903]
    assert of_table["3"] == [0.903, 0.914, 0.925, 0.930, 0.930, 0.936, 0.931, 0.930]
    assert of_table["4"] == [0.917, 0.919, 0.931, 0.936, 0.929, 0.931, 0.931]
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_heads_are_what_the_paper_says():
    heads = {head.name: head for head in PAPER.heads(["A", "B", "C", "D", "H", "F-10", "K"], 0)}
    assert heads["A"].network.n_segments == 1
    assert heads["A"].network.hidden == 600
    assert heads["A"].network.dropout == 0.4
    assert heads["B"].network == LSTMConfig(600)
    assert heads["C"].network.n_segments == 6
    assert [heads[name].copies for name in "ABCD"] == [0, 0, 0, EVERY_COPY]
    assert [heads[name].training.mixup for name in "ABCDH"] == [0, 0, 0, 0, 1.0]
    assert heads["F-10"].network.n_segments == 10
    assert heads["F-10"].training.mixup == 0.2
    assert heads["K"].network.levels == (3,)


def test_the_four_extractors_of_section_2_2():
    data = dataset(folds=False, n_test=2)
    made = PAPER.extractors(ALL_FOUR, data, "scratch", 0)
    ((first,), (last,), (unbalanced,), _) = made.values()
    assert len(parts(data, first.split).train) == 8000
    assert len(parts(data, last.split).validation) == 1473
    assert (first.training.batches, unbalanced.training.batches) == ("balanced", "unbalanced")
    assert unbalanced.training.batch_size == 41
    assert first.vggish.hidden == 4096


def test_every_fold_has_its_own_four():
    data = dataset(folds=True, n=80)
    names = ["fold-1", "fold-2", "fold-3", "fold-4"]
    assert [division.name for division in divisions(data)] == names
    made = PAPER.extractors(["balanced-last", "baseline"], data, "scratch", 0)
    last = [f"fold-{k}-last" for k in range(1, 5)]
    assert [spec.split for spec in made["balanced-last"]] == last
    assert [spec.split for spec in made["baseline"]] == [f"fold-{k}" for k in range(1, 5)]
    assert made["baseline"][0].training.patience is None


def test_clips_without_folds_or_test_are_dealt_out_to_five_folds():
    data = dataset(folds=False, n=20)
    assert [division.name for division in divisions(data)] == [f"fold-{k}" for k in range(1, 6)]
    every = [parts(data, f"fold-{k}") for k in range(1, 6)]
    assert sorted(np.concatenate([split.test for split in every])) == list(range(20))
    for split in every:
        assert np.bincount(data.truth()[split.test]).tolist() == [2, 2]


def test_rows_can_be_chosen():
    job = ReproduceJob(data="d", work="w", rows=("3-F", "2-all"))
    assert [row.key for row in reproduce.chosen(job)] == ["3-F", "2-all"]
    everything = reproduce.chosen(ReproduceJob(data="d", work="w"))
    assert {row.key for row in ROWS} - {row.key for row in everything} == {"2-original"}
    with_weights = reproduce.chosen(ReproduceJob(data="d", work="w", start="vggish"))
    assert len(with_weights) == len(ROWS)


def test_impossible_rows_are_refused():
    for rows, text in ((("9-Z",), "no row 9-Z"), (("2-original",), "--start")):
        with pytest.raises(CommandError, match=text):
            reproduce.chosen(ReproduceJob(data="d", work="w", rows=rows))
    with pytest.raises(CommandError, match="the command bundle"):
        ReproduceJob(data="d", work="w", rows=("bundled",))
    with pytest.raises(CommandError, match="no setting"):
        reproduce.run(ReproduceJob(data="d", work="w", setting="huge"), [])


def test_the_bundled_recipe_measures_only_what_it_has_not_seen():
    for spec in BUNDLED.extractors():
        assert spec.training.patience is None  # nothing is chosen on the fold that is measured
        split = parts(dataset(folds=True, n=80), spec.split)
        assert not set(split.train) & set(split.test)
        assert len(split.validation) == 0
    assert {spec.split for spec in BUNDLED.extractors()} >= {"all", "fold-1", "fold-4"}
