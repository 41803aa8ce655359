"""Figures of an evaluation where clips have several labels, as JSON and as a Markdown report.

Accuracy, MAP@3 and a confusion matrix mean nothing there: each label is measured by itself.
"""

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
from tagger import label_metrics
from tagger.arrays import BoolArray, FloatArray
from tagger.dataset import Dataset
from tagger.errors import CommandError

COLUMNS: Final = {"map": "mAP", "lwlrap": "lwlrap"}


def figures(dataset: Dataset, scored: Sequence[Scored]) -> dict[str, Any]:
    """mAP and lwlrap of the ensemble and of each member, over all clips and of each test.

    Those of ``over_tests`` are among them; ``over_labels`` is what ``over_labels`` returns,
    ``chance`` the mAP and the AUC of scores that are drawn at random, and the latter's standard
    error with so many clips.

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
    n_clips = sets[clips].sum(axis=0)
    precision = label_metrics.label_average_precision(scores, sets[clips])
    return {
        "all": {"n_clips": len(clips)} | {name: every[name] for name in COLUMNS},
        "over_labels": every,
        "chance": chance(sets[clips]),
        **over_tests(
            scored,
            lambda test: _measured(test.ensemble, sets[test.clips]),
            lambda test, member: _measured(test.members[member], sets[test.clips]),
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


def chance(truth: BoolArray) -> dict[str, float]:
    """The figures of scores that are drawn at random.

    The AUC of a label is then 0.5 with the variance (n + m + 1) / 12 n m, of n clips that have it
    and m that have not (Mann and Whitney, 1947). mAP, which is about the share of clips that have a
    label, is above that by chance where clips are few, so that the AUC decides.

    Parameters
    ----------
    truth : (n_clips, n_labels) of the test clips
    """
    with_it = truth.sum(axis=0).astype(np.float64)
    without = len(truth) - with_it
    both = (with_it > 0) & (without > 0)
    n, m = with_it[both], without[both]
    error = np.sqrt(((n + m + 1) / (12 * n * m)).sum()) / max(1, len(n))
    share = with_it[with_it > 0].mean() / len(truth)
    return {"map": round(float(share), 4), "auc": 0.5, "auc_error": round(float(error), 4)}


def is_at_chance(found: dict[str, Any]) -> bool:
    """Whether an ensemble is not clearly better than chance: by two standard errors."""
    auc, guess = found["over_labels"]["auc"], found["chance"]
    return auc is not None and bool(auc <= guess["auc"] + 2 * guess["auc_error"])


def beside_chance(found: dict[str, Any]) -> str:
    """What chance reaches, in words."""
    auc, error = found["over_labels"]["auc"], found["chance"]["auc_error"]
    return f"mean AUC {auc:.3f}, and 0.500 ± {error:.3f} for scores drawn at random"


def markdown(name: str, found: dict[str, Any], mistakes: pd.DataFrame) -> str:
    """The report of one evaluation.

    Parameters
    ----------
    mistakes : the worst, as ``predictions.mistakes`` returns them
    """
    lines = [f"# {name}", "", *table_of_tests(found, COLUMNS)]
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


def _told(score: float) -> str:
    return "" if pd.isna(score) else f"{score:.3f}"
