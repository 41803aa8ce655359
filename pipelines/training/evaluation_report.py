"""Figures of an evaluation, as JSON, as a Markdown report, and as a picture."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipelines.training.scores import Scored, Scores
from tagger import metrics
from tagger.arrays import IndexArray
from tagger.dataset import Dataset


def figures(dataset: Dataset, scored: Sequence[Scored]) -> dict[str, Any]:
    """Accuracy and MAP@3 of the ensemble and of each member, over all clips and in parts.

    ``tests`` has one entry per test set (one per fold, or one in all), with the members' own
    figures; ``mean`` and ``spread`` (standard deviation) are over tests. ``usages`` are
    FSDKaggle2018's public and private test clips.
    """
    truth = dataset.truth()
    clips = np.concatenate([test.clips for test in scored])
    ranking = np.concatenate([_ranking(test.ensemble, test.members) for test in scored])
    usage = dataset.clips["usage"].fillna("").to_numpy()[clips]
    tests: dict[str, dict[str, Any]] = {
        test.test_name: {
            "ensemble": _measured(_ranking(test.ensemble, test.members), truth[test.clips]),
            "members": {
                f"{head} upon {extractor}": _measured(
                    _ranking(scores, scores[None]), truth[test.clips]
                )
                for (head, extractor), scores in zip(test.names, test.members, strict=True)
            },
        }
        for test in scored
    }
    return {
        "all": _measured(ranking, truth[clips]),
        "usages": {
            name: _measured(ranking[usage == name], truth[clips][usage == name])
            for name in ("Public", "Private")
            if (usage == name).any()
        },
        "tests": tests,
        "mean": _over([test["ensemble"] for test in tests.values()], np.mean),
        "spread": _over([test["ensemble"] for test in tests.values()], np.std),
        "single_member_mean": _over(
            [member for test in tests.values() for member in test["members"].values()], np.mean
        ),
        "per_class": _plain(metrics.per_class(ranking, truth[clips], dataset.labels.names)),
    }


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: None for what is not a number."""
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _ranking(scores: Scores, members: Scores) -> IndexArray:
    """The best classes; none for a clip that no member could score."""
    ranking = metrics.rank(scores)
    ranking[~members.any((0, 2))] = -1
    return ranking


def _measured(ranking: IndexArray, truth: IndexArray) -> dict[str, float]:
    """How many clips there are, and how well they are ranked."""
    return {
        "n_clips": len(truth),
        "accuracy": round(metrics.accuracy(ranking, truth), 4),
        "map_at_3": round(metrics.map_at(ranking, truth), 4),
    }


def _over(parts: list[dict[str, float]], summary: Callable[[list[float]], Any]) -> dict[str, float]:
    """The figures of several tests as one, such as their mean."""
    names = ("accuracy", "map_at_3")
    return {name: round(float(summary([part[name] for part in parts])), 4) for name in names}


def markdown(name: str, found: dict[str, Any]) -> str:
    """The report of one evaluation."""
    lines = [f"# {name}", "", "| clips | n | accuracy | MAP@3 |", "|---|---|---|---|"]
    lines.append(_row("all", found["all"]))
    lines += [_row(usage, part) for usage, part in found["usages"].items()]
    for test, part in found["tests"].items():
        lines.append(_row(f"{test}, ensemble", part["ensemble"]))
        lines += [_row(f"{test}, {member}", own) for member, own in part["members"].items()]
    if len(found["tests"]) > 1:
        mean, spread = found["mean"], found["spread"]
        lines += ["", f"Over the {len(found['tests'])} tests, mean and standard deviation: "]
        lines[-1] += f"accuracy {mean['accuracy']:.3f} ± {spread['accuracy']:.3f}, "
        lines[-1] += f"MAP@3 {mean['map_at_3']:.3f} ± {spread['map_at_3']:.3f}."
    lines += ["", "| class | clips | MAP@3 | recall | precision |", "|---|---|---|---|---|"]
    for row in found["per_class"]:
        shares = [row[key] for key in ("map_at_3", "recall", "precision")]
        values = " | ".join("" if share is None else f"{share:.3f}" for share in shares)
        lines.append(f"| {row['label']} | {row['n_clips']} | {values} |")
    return "\n".join([*lines, "", "![confusion matrix](confusion.png)", ""])


def _row(what: str, part: dict[str, float]) -> str:
    return f"| {what} | {part['n_clips']} | {part['accuracy']:.3f} | {part['map_at_3']:.3f} |"


def picture(dataset: Dataset, scored: Sequence[Scored]) -> bytes:
    """The confusion matrix as PNG: rows the label, columns the first tag."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth = dataset.truth()[np.concatenate([test.clips for test in scored])]
    ranking = np.concatenate([_ranking(test.ensemble, test.members) for test in scored])
    names = dataset.labels.names
    counts = metrics.confusion(ranking, truth, len(names))
    side = 2.5 + 0.28 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(1, counts.sum(1, keepdims=True)), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="first tag", ylabel="label")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    for row, column in np.argwhere(counts):
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=6, color="0.4")
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink)  # type: ignore[no-untyped-call]
    return sink.getvalue()
