"""What both reports of an evaluation have in common: its tests, and each label by itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipelines.training.scores import Scored
from tagger import label_metrics
from tagger.arrays import RealArray

HALF: Final = 0.5  # the score of a tag that is as likely as not

Figures = dict[str, float]
"""``n_clips``, and what is measured, by name."""


def over_tests(
    scored: Sequence[Scored],
    of_ensemble: Callable[[Scored], Figures],
    of_member: Callable[[Scored, int], Figures],
) -> dict[str, Any]:
    """The figures of each test, its ensemble's and its members', and these as one.

    ``tests`` has one entry per test set (one per fold, or one in all); ``mean``, ``spread``
    (standard deviation) and ``single_member_mean`` are over tests.
    """
    tests: dict[str, dict[str, Any]] = {
        test.test_name: {
            "ensemble": of_ensemble(test),
            "members": {
                f"{head} upon {extractor}": of_member(test, i)
                for i, (head, extractor) in enumerate(test.names)
            },
        }
        for test in scored
    }
    ensembles: list[Figures] = [test["ensemble"] for test in tests.values()]
    members: list[Figures] = [own for test in tests.values() for own in test["members"].values()]
    return {
        "tests": tests,
        "mean": _over(ensembles, np.mean),
        "spread": _over(ensembles, np.std),
        "single_member_mean": _over(members, np.mean),
    }


def _over(parts: Sequence[Figures], summary: Callable[[list[float]], Any]) -> Figures:
    """The figures of several tests as one, such as their mean."""
    names = [name for name in parts[0] if name != "n_clips"]
    return {name: round(float(summary([part[name] for part in parts])), 4) for name in names}


def table_of_tests(found: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    """Lines of Markdown: all clips, each test with its members, and the mean over tests.

    Parameters
    ----------
    columns : figures to show, with what they are called
    """
    lines = [f"| clips | n | {' | '.join(columns.values())} |", "|---" * (2 + len(columns)) + "|"]

    def row(what: str, part: Figures) -> str:
        values = " | ".join(f"{part[name]:.3f}" for name in columns)
        return f"| {what} | {part['n_clips']} | {values} |"

    lines.append(row("all", found["all"]))
    lines += [row(usage, part) for usage, part in found.get("usages", {}).items()]
    for test, part in found["tests"].items():
        lines.append(row(f"{test}, ensemble", part["ensemble"]))
        lines += [row(f"{test}, {member}", own) for member, own in part["members"].items()]
    if len(found["tests"]) > 1:
        mean, spread = found["mean"], found["spread"]
        told = [f"{text} {mean[name]:.3f} ± {spread[name]:.3f}" for name, text in columns.items()]
        over = f"Over the {len(found['tests'])} tests, mean and standard deviation: "
        lines += ["", f"{over}{', '.join(told)}."]
    return lines


def over_labels(scores: RealArray, truth: label_metrics.Truth) -> dict[str, Any]:
    """What is measured label by label, each label against all others.

    mAP, lwlrap, the mean AUC and its d', and F1 of the tags that score 0.5 or more. Labels without
    test clips, ``n_without_clips``, have no part in the means. d' is None where it is infinite.

    Parameters
    ----------
    scores, truth : (n_clips, n_labels), as in ``tagger.label_metrics``
    """
    auc = label_metrics.label_auc(scores, truth)
    mean_auc = float(np.nanmean(auc)) if not np.isnan(auc).all() else None
    apart = label_metrics.d_prime(mean_auc) if mean_auc is not None else math.inf
    tags = scores >= HALF
    return {
        "map": round(label_metrics.mean_average_precision(scores, truth), 4),
        "lwlrap": round(label_metrics.lwlrap(scores, truth), 4),
        "auc": mean_auc and round(mean_auc, 4),
        "d_prime": round(apart, 4) if math.isfinite(apart) else None,
        "micro_f1": round(label_metrics.micro_f1(tags, truth), 4),
        "macro_f1": round(label_metrics.macro_f1(tags, truth), 4),
        "n_without_clips": int((~truth.any(0)).sum()),
    }


def told_over_labels(part: dict[str, Any]) -> str:
    """The line of what is measured label by label."""
    figures = {
        "mAP": part["map"],
        "lwlrap": part["lwlrap"],
        "mean AUC": part["auc"],
        "d'": part["d_prime"],
        "F1 of tags that score 0.5 or more: micro": part["micro_f1"],
        "macro": part["macro_f1"],
    }
    told = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
    left_out = part["n_without_clips"]
    without = f"; {left_out} labels without test clips are left out" if left_out else ""
    return f"Label by label: {', '.join(told)}{without}."
