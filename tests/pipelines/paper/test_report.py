"""The report of ``reproduce``, from figures made up."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from pipelines.paper import report as comparison
from pipelines.paper.recipes import ROWS

N_CLIPS = 20
"""Of each test."""


def figures(*by_test: tuple[float, float]) -> dict[str, Any]:
    """MAP@3 of an ensemble and of each of its two members, test by test."""
    tests = {
        f"fold-{i}": {
            "ensemble": {"map_at_3": ensemble, "n_clips": N_CLIPS},
            "members": {name: {"map_at_3": member} for name in "ab"},
        }
        for i, (ensemble, member) in enumerate(by_test)
    }
    return {
        "usages": {},
        "tests": tests,
        "all": {"map_at_3": 0.75, "accuracy": 0.5},
        "single_member_mean": {"map_at_3": 0.65},
    }


def network(best_epoch: int, patience: int | None = 1, n_steps: int = 50) -> dict[str, Any]:
    """The record of a network that was trained for two epochs."""
    history = [{"epoch": i, "n_examples": 30} for i in (1, 2)]
    training = {"patience": patience}
    return {
        "spec": {"wanted": {"training": training}} if best_epoch == 1 else {"training": training},
        "history": history,
        "best_epoch": best_epoch,
        "seconds": 4.0,
        "n_steps": n_steps,
    }


@pytest.fixture(scope="module")
def report() -> list[str]:
    first = comparison.FIRST
    found = {
        "3-C": {
            first: figures((0.6, 0.5), (0.8, 0.6)),
            "s1": figures((0.6, 0.5), (0.7, 0.6)),
        },
        "3-D": {
            first: figures((0.7, 0.5), (0.8, 0.7)),
            "s1": figures((0.6, 0.5), (0.9, 0.7)),
        },
        "3-F": {first: figures((0.7, 0.6), (0.9, 0.6))},
        "K": {first: figures((0.5, 0.4), (0.5, 0.4))},
    }
    rows = [row for row in ROWS if row.key in found]
    trained = {
        "vggish": [network(1), network(2, n_steps=150)],
        "baseline": [network(2, patience=None)],
        "head old": [{k: v for k, v in network(1).items() if k != "n_steps"}],
    }
    costs = [("fit", 10.0), ("fit", 5.0)]
    return comparison.markdown(rows, found, trained, costs, "made by", "one").splitlines()


def test_a_row_has_the_paper_s_figure_beside_ours(report):
    """The spread over folds, and over seeds where there are several."""
    assert "| 3-F | D + Mixup (0.2) | 0.936 | 0.800 | 0.100 |  | 0.750 | 0.500 | 0.650 |" in report
    (row,) = [line for line in report if line.startswith("| 3-C")]
    assert "| 0.925 | 0.675 | 0.075 | 0.035 | 0.750 | 0.500 | 0.650 |" in row
    assert "    one 3-F" in report
    assert "Networks of 2 seeds." in " ".join(report)


def test_steps_are_paired_differences_with_their_interval(report):
    """Test by test, of the seeds that both rows have: +.1, 0, 0 and +.2 from C to D.

    Each of two tests holds half the clips: n_test / n_train is 1.
    """
    (pitch,) = [line for line in report if line.startswith("| pitch shift")]
    added = np.array([0.1, 0.0, 0.0, 0.2])
    half = stats.t.ppf(0.975, 3) * added.std(ddof=1) * np.sqrt(1 / 4 + 1)
    assert pitch.endswith(f"| +0.005 | +0.075 | {0.075 - half:+.3f} to {0.075 + half:+.3f} |")
    (mixup,) = [line for line in report if line.startswith("| mixup")]
    assert "(3-D to 3-F) | +0.006 | +0.050 | " in mixup
    (ensemble,) = [line for line in report if "ensemble instead" in line]
    assert "(3-F) |  | +0.200 | " in ensemble


def test_one_test_and_one_seed_have_no_interval():
    rows = [row for row in ROWS if row.key in ("3-C", "3-D")]
    found = {row.key: {comparison.FIRST: figures((0.5, 0.4))} for row in rows}
    report = comparison.markdown(rows, found, {}, [], "made by", "one")
    assert "| pitch shift (3-C to 3-D) | +0.005 | +0.000 |  |" in report


def test_how_training_went(report):
    """Means over networks; those that stop early tell whether their best was at the end."""
    assert "| vggish | 2 | 2.0 | 100 | 50 | 88 | 1 of 2 | 2.00 | 15 |" in report
    assert "| baseline | 1 | 2.0 | 50 | 50 | 50 |  | 2.00 | 15 |" in report
    assert "| head old | 1 | 2.0 |  |  |  | 0 of 1 | 2.00 | 15 |" in report
    assert "| fit | 2 | 15 |" in report


@pytest.mark.parametrize(
    ("usages", "columns"),
    [
        (("Public",), "| MAP@3 mean of tests | ± over tests |"),
        (("Public", "Private"), "| MAP@3 Public | MAP@3 Private |"),
    ],
)
def test_usages_have_columns_where_there_are_both(usages, columns):
    found = figures((0.6, 0.5)) | {"usages": {usage: {"map_at_3": 0.3} for usage in usages}}
    (row,) = [row for row in ROWS if row.key == "3-C"]
    report = comparison.markdown([row], {"3-C": {"first": found}}, {}, [], "made by", "one")
    assert columns in report
    values = "0.300 | 0.300" if len(usages) == 2 else "0.600 | 0.000"
    assert f"| 3-C | {row.what} | 0.925 | {values} |  | 0.750 |" in report
