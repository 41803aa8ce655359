"""The report of ``reproduce``, from figures made up."""

from typing import Any

import pytest

from pipelines.paper import report as comparison
from pipelines.paper.recipes import ROWS


def figures(*by_test: tuple[float, float]) -> dict[str, Any]:
    """MAP@3 of an ensemble and of each of its two members, test by test."""
    tests = {
        f"fold-{i}": {
            "ensemble": {"map_at_3": ensemble},
            "members": {name: {"map_at_3": member} for name in "ab"},
        }
        for i, (ensemble, member) in enumerate(by_test)
    }
    return {
        "usages": {},
        "tests": tests,
        "all": {"map_at_3": 0.75, "accuracy": 0.5},
        "mean": {"map_at_3": 0.7},
        "spread": {"map_at_3": 0.1},
        "single_member_mean": {"map_at_3": 0.65},
    }


@pytest.fixture(scope="module")
def report() -> list[str]:
    found = {
        "3-C": figures((0.6, 0.5), (0.8, 0.6)),
        "3-D": figures((0.7, 0.5), (0.8, 0.7)),
        "3-F": figures((0.7, 0.6), (0.9, 0.6)),
        "K": figures((0.5, 0.4), (0.5, 0.4)),
    }
    rows = [row for row in ROWS if row.key in found]
    history = [{"epoch": i, "n_examples": 30} for i in (1, 2)]
    trained = {"vggish": [{"history": history, "seconds": 4.0}] * 2}
    costs = [("fit", 10.0), ("fit", 5.0)]
    return comparison.markdown(rows, found, trained, costs, "made by", "one").splitlines()


def test_a_row_has_the_paper_s_figure_beside_ours(report):
    assert "| 3-F | D + Mixup (0.2) | 0.936 | 0.700 | 0.100 | 0.750 | 0.500 | 0.650 |" in report
    assert "    one 3-F" in report


def test_steps_are_differences_test_by_test(report):
    (pitch,) = [line for line in report if line.startswith("| pitch shift")]
    assert pitch.endswith("| +0.005 | +0.050 | 0.050 |")
    (levels,) = [line for line in report if line.startswith("| three levels")]
    assert levels.endswith("|  | +0.250 | 0.050 |")
    (mixup,) = [line for line in report if line.startswith("| mixup")]
    assert mixup.endswith("(3-D to 3-F) | +0.006 | +0.050 | 0.050 |")
    (ensemble,) = [line for line in report if "ensemble instead" in line]
    assert ensemble.endswith("(3-F) |  | +0.200 | 0.100 |")


def test_costs_are_means_over_networks_and_sums_over_runs(report):
    assert "| vggish | 2 | 2.0 | 2.00 | 15 |" in report
    assert "| fit | 2 | 15 |" in report


@pytest.mark.parametrize(
    ("usages", "columns"),
    [
        (("Public",), "| MAP@3 mean of tests | ± |"),
        (("Public", "Private"), "| MAP@3 Public | MAP@3 Private |"),
    ],
)
def test_usages_have_columns_where_there_are_both(usages, columns):
    found = figures((0.6, 0.5)) | {"usages": {usage: {"map_at_3": 0.3} for usage in usages}}
    (row,) = [row for row in ROWS if row.key == "3-C"]
    report = comparison.markdown([row], {"3-C": found}, {}, [], "made by", "one")
    assert columns in report
    values = "0.300 | 0.300" if len(usages) == 2 else "0.700 | 0.100"
    assert f"| 3-C | {row.what} | 0.925 | {values} | 0.750 |" in report
