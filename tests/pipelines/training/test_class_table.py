"""How many clips each class has in each part."""

import pandas as pd

from pipelines.training.class_table import class_table, of_sets, too_small
from tagger.dataset import Dataset
from tagger.labels import LabelSet


def data(labels: str, folds: list[int | None], split: list[str]) -> Dataset:
    clips = pd.DataFrame(
        {
            "label": pd.array([*labels], "string"),
            "fold": pd.array(folds, "Int64"),
            "split": split,
            "usage": pd.array([None] * len(labels), "string"),
        }
    )
    return Dataset("csv", LabelSet.of(sorted(set(labels))), clips)


def test_parts_and_folds_are_counted():
    table = class_table(data("aabbb", [1, 2, 1, 1, 1], ["train"] * 5))
    assert table.to_dict("index") == {
        "a": {"train": 2, "fold 1": 1, "fold 2": 1},
        "b": {"train": 3, "fold 1": 3, "fold 2": 0},
    }
    (line,) = too_small(table)
    assert line == "all clips in one fold, which leaves none to train on when it tests: b"


def test_a_class_that_nothing_measures_is_told():
    split = ["train"] * 2 + ["test"] + ["train"] * 4 + ["validation"]
    table = class_table(data("aaabbbbb", [None] * 8, split))
    assert table.loc["a"].to_dict() == {"train": 2, "validation": 0, "test": 1}
    assert list(too_small(table)) == [
        "too few clips to be tested in each of 5 folds: a",
        "no validation clips: a",
        "no test clips: b",
    ]


def test_a_clip_counts_for_each_of_its_labels():
    texts = ['["a", "b"]', '["b"]', "[]", '["b", "c"]']
    found = data("abca", [1, 2, 1, 2], ["train"] * 4)
    clips = found.clips.assign(label=texts)
    several = Dataset("csv", LabelSet.of("abc"), clips, labelling="several")
    table = class_table(several)
    assert table["train"].tolist() == [1, 3, 1]
    assert list(of_sets(several)) == [
        "labels a clip: 1.25 on average, 2 at most; clips without labels: 1"
    ]
    assert list(of_sets(found)) == []
    assert "one clip only to train on: a, c" in list(too_small(table))


def test_enough_of_everything_is_no_news():
    assert list(too_small(class_table(data("ab" * 5, [None] * 10, ["train"] * 10)))) == []
    assert list(too_small(class_table(data("abab", [1, 1, 2, 2], ["train"] * 4)))) == []
