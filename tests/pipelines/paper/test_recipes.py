"""The rows of the paper as data."""

import json
import math
from pathlib import Path

from pipelines.paper.recipes import ALL_FOUR, EXTRACTORS, HEADS, ROWS
from pipelines.training.specs import CLASSIFIER

VERSION_1 = Path(__file__).parents[2] / "golden" / "version_1" / "recipes.json"


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


def test_rows_are_those_of_version_1():
    expected = json.loads(VERSION_1.read_text())["rows"]
    found = [
        [row.key, row.what, None if math.isnan(row.paper) else row.paper, row.heads, row.extractors]
        for row in ROWS
    ]
    assert json.loads(json.dumps(found)) == expected


def test_rows_are_made_of_recipes_and_every_recipe_is_in_a_row():
    assert {name for row in ROWS for name in row.heads} == {*HEADS, CLASSIFIER}
    assert {name for row in ROWS for name in row.extractors} == {*EXTRACTORS}
    assert set(ALL_FOUR) == {*EXTRACTORS} - {"baseline", "original"}


def test_heads_are_what_the_paper_says():
    """Section 4.2: each row of Table 3 adds to the one before; Table 4 varies row F's segments."""
    assert [HEADS[name].mixup for name in "ABCDEFGH"] == [0, 0, 0, 0, 0.1, 0.2, 0.4, 1.0]
    assert [HEADS[name].pitch_shift for name in "ABCDEFGH"] == [False] * 3 + [True] * 5
    assert [HEADS[name].n_segments for name in "ACDEFGH"] == [1, 6, 6, 6, 6, 6, 6]
    assert [name for name in HEADS if HEADS[name].lstm] == ["B"]
    (of_table_4,) = [row.heads for row in ROWS if row.key == "4-all"]
    assert [HEADS[name].n_segments for name in of_table_4] == [1, 2, 4, 6, 8, 10]
    assert {HEADS[name].mixup for name in of_table_4} == {0.2}
    assert HEADS["K"].levels == (3,)
