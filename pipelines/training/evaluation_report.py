"""Figures of an evaluation, as JSON and as a Markdown report."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from pipelines.training.report_parts import (
    over_labels,
    over_tests,
    table_of_tests,
    told_over_labels,
)
from pipelines.training.scores import Scored
from tagger import label_metrics, metrics
from tagger.arrays import IndexArray, RealArray
from tagger.dataset import Dataset

COLUMNS: Final = {"accuracy": "accuracy", "map_at_3": "MAP@3"}


def figures(dataset: Dataset, scored: Sequence[Scored]) -> dict[str, Any]:
    """Accuracy and MAP@3 of the ensemble and of each member, over all clips and in parts.

    Those of ``over_tests`` are among them; ``chance`` is what ``chance`` returns, ``over_labels``
    what ``over_labels`` does. ``usages`` are FSDKaggle2018's public and private test clips.
    """
    truth = dataset.truth()
    clips = np.concatenate([test.clips for test in scored])
    ranking = np.concatenate([test.ranking for test in scored])
    scores = np.concatenate([test.ensemble for test in scored])
    sets = dataset.label_sets()[clips]
    usage = dataset.clips["usage"].fillna("").to_numpy()[clips]
    return {
        "all": _measured(ranking, truth[clips]),
        "balanced_accuracy": round(metrics.balanced_accuracy(ranking, truth[clips]), 4),
        "chance": chance(truth[clips]),
        "over_labels": over_labels(scores, sets),
        "average_precision": average_precision(scores, sets, dataset.labels.names),
        "usages": {
            name: _measured(ranking[usage == name], truth[clips][usage == name])
            for name in ("Public", "Private")
            if (usage == name).any()
        },
        **over_tests(
            scored,
            lambda test: _measured(test.ranking, truth[test.clips]),
            lambda test, member: _measured(test.ranking_of(member), truth[test.clips]),
        ),
        "per_class": _plain(metrics.per_class(ranking, truth[clips], dataset.labels.names)),
    }


def average_precision(
    scores: RealArray, truth: label_metrics.Truth, names: Sequence[str]
) -> dict[str, float | None]:
    """Average precision of each label by its name, None for one without test clips."""
    each = label_metrics.label_average_precision(scores, truth)
    return {
        name: None if math.isnan(value) else round(float(value), 4)
        for name, value in zip(names, each, strict=True)
    }


def chance(truth: IndexArray) -> dict[str, float]:
    """The figures of one who has heard nothing, and always names the three most frequent classes.

    Parameters
    ----------
    truth : (n_clips,) classes of the test clips
    """
    shares = np.sort(np.bincount(truth))[::-1][: metrics.PLACES] / len(truth)
    points = shares / np.arange(1, len(shares) + 1)
    return {"accuracy": round(float(shares[0]), 4), "map_at_3": round(float(points.sum()), 4)}


def is_at_chance(found: dict[str, Any]) -> bool:
    """Whether an ensemble is not clearly better than chance: by two standard errors."""
    share, n_clips = found["chance"]["accuracy"], found["all"]["n_clips"]
    error = float(np.sqrt(share * (1 - share) / n_clips))
    return bool(found["all"]["accuracy"] <= share + 2 * error)


def beside_chance(found: dict[str, Any]) -> str:
    """What chance reaches, in words."""
    return (
        f"accuracy {found['all']['accuracy']:.3f}, and {found['chance']['accuracy']:.3f} for who "
        "always names the most frequent class"
    )


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: None for what is not a number."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _measured(ranking: IndexArray, truth: IndexArray) -> dict[str, float]:
    """How many clips there are, and how well they are ranked."""
    return {
        "n_clips": len(truth),
        "accuracy": round(metrics.accuracy(ranking, truth), 4),
        "map_at_3": round(metrics.map_at(ranking, truth), 4),
    }


def markdown(name: str, found: dict[str, Any], mistakes: pd.DataFrame) -> str:
    """The report of one evaluation.

    Parameters
    ----------
    mistakes : the worst, as ``predictions.mistakes`` returns them
    """
    lines = [f"# {name}", "", *table_of_tests(found, COLUMNS)]
    guess = found["chance"]
    lines += ["", f"Balanced accuracy {found['balanced_accuracy']:.3f}. Who always names the most "]
    lines[-1] += f"frequent classes has an accuracy of {guess['accuracy']:.3f} and a MAP@3 of "
    lines[-1] += f"{guess['map_at_3']:.3f}."
    lines += ["", told_over_labels(found["over_labels"])]
    lines += ["", "| class | clips | MAP@3 | AP | recall | precision |", "|---" * 6 + "|"]
    for row in found["per_class"]:
        shares = [row[key] for key in ("map_at_3", "recall", "precision")]
        shares.insert(1, found["average_precision"][row["label"]])
        values = " | ".join("" if share is None else f"{share:.3f}" for share in shares)
        lines.append(f"| {row['label']} | {row['n_clips']} | {values} |")
    lines += ["", "![confusion matrix](confusion.png)", "", "![learning curves](curves.png)"]
    if len(mistakes):
        lines += [
            "",
            "The clips that it got most wrong; all are in predictions.parquet. To see and ",
        ]
        lines[-1] += "hear them: `tag mistakes.csv --model MODEL --out OUT`, then `report OUT`."
        lines.append("")
        lines += ["| clip | label | first tag | score | score of the label |", "|---" * 5 + "|"]
        lines += [
            f"| [{row['name']}]({row['uri']}) | {row['label']} | {row['tag']} | "
            f"{row['score']:.3f} | {row['label_score']:.3f} |"
            for _, row in mistakes.iterrows()
        ]
    return "\n".join([*lines, ""])
