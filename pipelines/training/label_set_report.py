"""Figures of an evaluation where clips have several labels, as JSON and as a Markdown report.

Accuracy, MAP@3 and a confusion matrix mean nothing there: each label is measured by itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from pipelines.training.evaluation_report import over_labels, told_over_labels
from pipelines.training.scores import Scored
from tagger import label_metrics
from tagger.arrays import BoolArray, FloatArray
from tagger.dataset import Dataset
from tagger.errors import CommandError

FIGURES: Final = ("map", "lwlrap")


def figures(dataset: Dataset, scored: Sequence[Scored]) -> dict[str, Any]:
    """mAP and lwlrap of the ensemble and of each member, over all clips and of each test.

    ``over_labels`` is what ``evaluation_report.over_labels`` returns; ``chance`` the mAP of scores
    that are drawn at random; ``mean`` and ``spread`` (standard deviation) are over tests.

    Raises
    ------
    CommandError : no clip of a test has a label
    """
    sets = dataset.label_sets()
    for test in scored:
        if not sets[test.clips].any():
            raise CommandError(f"no clip of {test.test_name} has a label: there is nothing to find")
    clips = np.concatenate([test.clips for test in scored])
    scores = np.concatenate([test.ensemble for test in scored])
    every = over_labels(scores, sets[clips])
    tests: dict[str, dict[str, Any]] = {
        test.test_name: {
            "ensemble": _measured(test.ensemble, sets[test.clips]),
            "members": {
                f"{head} upon {extractor}": _measured(test.members[i], sets[test.clips])
                for i, (head, extractor) in enumerate(test.names)
            },
        }
        for test in scored
    }
    n_clips = sets[clips].sum(axis=0)
    precision = label_metrics.label_average_precision(scores, sets[clips])
    return {
        "all": {"n_clips": len(clips)} | {name: every[name] for name in FIGURES},
        "over_labels": every,
        "chance": {"map": round(float(n_clips[n_clips > 0].mean() / len(clips)), 4)},
        "tests": tests,
        "mean": _over([test["ensemble"] for test in tests.values()], np.mean),
        "spread": _over([test["ensemble"] for test in tests.values()], np.std),
        "single_member_mean": _over(
            [member for test in tests.values() for member in test["members"].values()], np.mean
        ),
        "per_class": [
            {
                "label": name,
                "n_clips": int(n),
                "average_precision": None if np.isnan(value) else round(float(value), 4),
            }
            for name, n, value in zip(dataset.labels.names, n_clips, precision, strict=True)
        ],
    }


def is_at_chance(found: dict[str, Any]) -> bool:
    """Whether an ensemble is no better than scores that are drawn at random."""
    return bool(found["all"]["map"] <= found["chance"]["map"])


def beside_chance(found: dict[str, Any]) -> str:
    """What chance reaches, in words."""
    random = found["chance"]["map"]
    return f"mAP {found['all']['map']:.3f}, and {random:.3f} for scores drawn at random"


def markdown(name: str, found: dict[str, Any], mistakes: pd.DataFrame) -> str:
    """The report of one evaluation.

    Parameters
    ----------
    mistakes : the worst, as ``predictions.mistakes`` returns them
    """
    lines = [f"# {name}", "", "| clips | n | mAP | lwlrap |", "|---|---|---|---|"]
    lines.append(_row("all", found["all"]))
    for test, part in found["tests"].items():
        lines.append(_row(f"{test}, ensemble", part["ensemble"]))
        lines += [_row(f"{test}, {member}", own) for member, own in part["members"].items()]
    if len(found["tests"]) > 1:
        mean, spread = found["mean"], found["spread"]
        lines += ["", f"Over the {len(found['tests'])} tests, mean and standard deviation: "]
        lines[-1] += f"mAP {mean['map']:.3f} ± {spread['map']:.3f}, "
        lines[-1] += f"lwlrap {mean['lwlrap']:.3f} ± {spread['lwlrap']:.3f}."
    lines += ["", told_over_labels(found["over_labels"]), ""]
    lines += [
        f"Scores drawn at random have a mAP of {found['chance']['map']:.3f}. A clip may have "
    ]
    lines[-1] += "several labels: each has a score of its own, and they do not sum to 1."
    lines += ["", "| label | clips | AP |", "|---|---|---|"]
    for row in found["per_class"]:
        value = row["average_precision"]
        told = "" if value is None else f"{value:.3f}"
        lines.append(f"| {row['label']} | {row['n_clips']} | {told} |")
    lines += ["", "![learning curves](curves.png)"]
    if len(mistakes):
        lines += ["", "Clips whose first tag is none of their labels, by the least score of these."]
        lines += ["All are in predictions.parquet.", ""]
        lines += ["| clip | labels | first tag | score | least score of the labels |"]
        lines += ["|---" * 5 + "|"]
        lines += [
            f"| [{row['name']}]({row['uri']}) | {row['label']} | {row['tag']} | "
            f"{row['score']:.3f} | {_told(row['label_score'])} |"
            for _, row in mistakes.iterrows()
        ]
    return "\n".join([*lines, ""])


def _measured(scores: FloatArray, sets: BoolArray) -> dict[str, float]:
    """How many clips there are, and how well their labels are ranked."""
    return {
        "n_clips": len(sets),
        "map": round(label_metrics.mean_average_precision(scores, sets), 4),
        "lwlrap": round(label_metrics.lwlrap(scores, sets), 4),
    }


def _over(parts: list[dict[str, float]], summary: Callable[[list[float]], Any]) -> dict[str, float]:
    return {name: round(float(summary([part[name] for part in parts])), 4) for name in FIGURES}


def _row(what: str, part: dict[str, float]) -> str:
    return f"| {what} | {part['n_clips']} | {part['map']:.3f} | {part['lwlrap']:.3f} |"


def _told(score: float) -> str:
    return "" if pd.isna(score) else f"{score:.3f}"
