"""Figures of an evaluation against figures worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from pipelines.training import evaluation_report as scoreboard
from pipelines.training.scores import Scored
from tagger.dataset import Dataset
from tagger.labels import LabelSet


@pytest.fixture
def dataset() -> Dataset:
    clips = pd.DataFrame(
        {
            "name": [f"{i}.wav" for i in range(5)],
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


def test_report_and_picture(dataset, scored):
    found = scoreboard.figures(dataset, scored)
    report = scoreboard.markdown("x", found)
    assert "| all | 5 | 0.400 | 0.500 |" in report
    assert "| d | 1 | 0.000 | 0.000 |  |" in report  # never a first tag
    assert "MAP@3 0.542 ± 0.208" in report
    assert scoreboard.picture(dataset, scored).startswith(b"\x89PNG")
