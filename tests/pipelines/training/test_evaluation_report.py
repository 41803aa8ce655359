"""Figures of an evaluation against figures worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from pipelines.training import evaluation_report as scoreboard
from pipelines.training.predictions import mistakes, predictions
from pipelines.training.scores import Scored
from tagger.dataset import Dataset
from tagger.labels import LabelSet


@pytest.fixture
def dataset() -> Dataset:
    clips = pd.DataFrame(
        {
            "name": [f"{i}.wav" for i in range(5)],
            "uri": [f"file:///{i}.wav" for i in range(5)],
            "label": ["a", "b", "c", "d", "a"],
            "fold": pd.array([1, 1, 2, 2, 2], "Int64"),
            "split": "train",
            "usage": pd.array(["Public", "Public", "Private", "Private", "Private"], "string"),
        }
    )
    return Dataset("csv", LabelSet.of("abcd"), clips)


def member(*rankings: str) -> np.ndarray:
    """Scores of clips whose classes rank as the letters say; all 0 for ``----``."""
    scores = np.zeros((len(rankings), 4), np.float32)
    for row, ranking in zip(scores, rankings, strict=True):
        for place, letter in enumerate(ranking.replace("-", "")):
            row["abcd".index(letter)] = (0.5, 0.3, 0.15, 0.05)[place]
    return scores


@pytest.fixture
def scored() -> list[Scored]:
    """Clip 4 could not be prepared; equal rankings have one member's ranking as their mean's."""
    first = Scored("fold-1", (("h", "x"),), np.array([0, 1]), member("abcd", "abcd")[None])
    second = member("cabd", "abcd", "----")
    pair = (("h", "y"), ("h", "z"))
    return [first, Scored("fold-2", pair, np.array([2, 3, 4]), np.stack([second, second]))]


def test_figures(dataset, scored):
    found = scoreboard.figures(dataset, scored)
    # Ranks of the truth: 1, 2 | 1, beyond 3, no answer.
    assert found["all"] == {"n_clips": 5, "accuracy": 0.4, "map_at_3": 0.5}
    assert found["tests"]["fold-1"]["ensemble"]["map_at_3"] == 0.75
    assert found["tests"]["fold-2"]["members"]["h upon y"]["map_at_3"] == 0.3333
    assert found["usages"]["Private"]["n_clips"] == 3
    assert found["mean"]["map_at_3"] == pytest.approx((0.75 + 0.3333) / 2, abs=1e-4)
    assert found["spread"]["map_at_3"] == pytest.approx((0.75 - 0.3333) / 2, abs=1e-4)
    assert [row["n_clips"] for row in found["per_class"]] == [2, 1, 1, 1]
    assert [row["precision"] for row in found["per_class"]] == [1 / 3, None, 1.0, None]
    json.dumps(found, allow_nan=False)


def test_chance_is_the_answer_that_needs_no_ears(dataset, scored):
    # Labels a, b, c, d, a: who always says a, b, c is right first twice, second and third once.
    found = scoreboard.figures(dataset, scored)
    assert found["chance"] == {"accuracy": 0.4, "map_at_3": round((2 + 1 / 2 + 1 / 3) / 5, 4)}
    assert found["balanced_accuracy"] == 0.375  # a: 1 of 2; b: none; c: all; d: none
    assert scoreboard.is_at_chance(found)


def test_figures_over_labels(dataset, scored):
    found = scoreboard.figures(dataset, scored)
    each = list(found["average_precision"].values())
    # Of a clips 0 and 4 come first (with two others) and last; d has the same score three times
    # where it is wrong and once where it is right.
    assert each == pytest.approx([(1 / 3 + 2 / 5) / 2, 1 / 3, 1, 1 / 4], abs=1e-4)
    over = found["over_labels"]
    assert (over["map"], over["n_without_clips"]) == (0.4875, 0)
    assert over["lwlrap"] == 0.6  # 1, 1/2, 1, 1/4, and 1/4 for four equal scores
    assert scoreboard.over_labels(np.eye(3), np.eye(3, 3) == 1)["d_prime"] is None  # infinite


def test_a_tag_needs_a_score_of_a_half_for_f1():
    scores, truth = np.array([[0.5, 0.3], [0.6, 0.4]]), np.array([[True, True], [False, True]])
    over = scoreboard.over_labels(scores, truth)
    assert over["micro_f1"] == 0.4  # two tags, one of them right, three labels
    assert over["macro_f1"] == round((2 / 3 + 0) / 2, 4)


def test_labels_without_clips_are_left_out_and_counted():
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.3]])
    each = scoreboard.average_precision(scores, np.eye(2, 3) == 1, "abc")
    assert each == {"a": 1, "b": 1, "c": None}
    over = scoreboard.over_labels(scores, np.eye(2, 3) == 1)
    assert (over["map"], over["auc"], over["macro_f1"], over["n_without_clips"]) == (1, 1, 1, 1)


def test_many_right_answers_are_better_than_chance():
    found = {"all": {"n_clips": 100, "accuracy": 0.2}, "chance": {"accuracy": 0.1}}
    assert not scoreboard.is_at_chance(found)  # 0.1 + 2 * 0.03
    assert scoreboard.is_at_chance(found | {"all": {"n_clips": 30, "accuracy": 0.2}})


def test_report(dataset, scored):
    found = scoreboard.figures(dataset, scored)
    report = scoreboard.markdown("x", found, mistakes(predictions(dataset, scored)))
    assert "| all | 5 | 0.400 | 0.500 |" in report
    assert "| d | 1 | 0.000 | 0.250 | 0.000 |  |" in report  # never a first tag
    assert "mAP 0.487, lwlrap 0.600, mean AUC 0.677" in report
    assert "MAP@3 0.542 ± 0.208" in report
    assert "accuracy of 0.400 and a MAP@3 of 0.567" in report
    assert "| [3.wav](file:///3.wav) | d | a | 0.500 | 0.050 |" in report


def test_predictions_hold_every_clip_with_its_scores(dataset, scored):
    table = predictions(dataset, scored).to_pylist()
    assert [row["name"] for row in table] == [f"{i}.wav" for i in range(5)]
    assert [row["test"] for row in table] == ["fold-1"] * 2 + ["fold-2"] * 3
    assert [row["fold"] for row in table] == [1, 1, 2, 2, 2]
    first, *_, last = table
    assert (first["tag"], first["label"], first["score"]) == ("a", "a", first["score_a"])
    scores = [first[f"score_{name}"] for name in "abcd"]
    assert scores == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert last["tag"] is last["score"] is last["score_a"] is None  # could not be prepared


def test_the_worst_mistakes_come_first(dataset, scored):
    worst = mistakes(predictions(dataset, scored))
    assert list(worst["name"]) == ["3.wav", "1.wav"]  # their labels had 0.05 and 0.3
    assert list(mistakes(predictions(dataset, scored), n=1)["name"]) == ["3.wav"]
