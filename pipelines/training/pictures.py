"""Pictures of a training and of its evaluation, as PNG."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tagger.arrays import IndexArray
from tagger.calibration import Reliability

if TYPE_CHECKING:  # matplotlib takes half a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, Any]
"""Of a trained network, as the work folder holds it."""


def curves(trained: Mapping[str, Sequence[Record]]) -> bytes:
    """Loss against steps, a panel for each kind of network, a pair of lines for each network.

    A dot is the validation loss of the weights that were kept.

    Parameters
    ----------
    trained : the networks of a kind, by its title, each with one epoch at least; against epochs
        where one of a kind does not tell its steps, as in earlier versions
    """
    from matplotlib.figure import Figure

    n_columns = max(1, min(3, len(trained)))
    n_rows = max(1, -(-len(trained) // n_columns))
    figure = Figure(figsize=(4.2 * n_columns, 2.8 * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, (title, records) in zip(panels, trained.items(), strict=False):
        by_steps = all("n_steps" in record for record in records)
        for number, record in enumerate(records):
            _draw(axes, record, by_steps, labelled=number == 0)
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("step" if by_steps else "epoch", fontsize=7)
        axes.set_ylabel("loss", fontsize=7)
        axes.tick_params(labelsize=6)
        axes.legend(fontsize=6)
    for axes in panels[len(trained) :]:
        axes.remove()
    return _png(figure)


def _draw(axes: "Axes", record: Record, by_steps: bool, labelled: bool) -> None:
    """The curves of one network."""
    history, best = record["history"], record["best_epoch"]
    unit = record["n_steps"] / len(history) if by_steps else 1
    steps = [epoch["epoch"] * unit for epoch in history]
    for part, colour in (("train", "C0"), ("validation", "C1")):
        losses = [epoch[f"{part}_loss"] for epoch in history]
        if None not in losses:
            label = {"train": "training", "validation": "validation"}[part]
            axes.plot(steps, losses, colour, lw=0.8, label=label if labelled else None)
    if (kept := history[best - 1]["validation_loss"]) is not None:
        axes.plot(steps[best - 1], kept, "k.", ms=2.5, label="kept" if labelled else None)


def confusion(counts: IndexArray, names: Sequence[str]) -> bytes:
    """A confusion matrix: rows the label, columns the first tag; shade the share of its row.

    Parameters
    ----------
    counts : (n_classes, n_classes)
    """
    from matplotlib.figure import Figure

    side = 3.0 + 0.32 * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(1, keepdims=True))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="first tag", ylabel="label")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        text = str(counts[row, column])
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    figure.colorbar(image, label="share of the label's clips", shrink=0.6)
    return _png(figure)


def reliability(before: Reliability, after: Reliability) -> bytes:
    """Reliability diagrams: how often decisions of each score are right, and how many there are.

    Parameters
    ----------
    before, after : calibration
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title, found in zip(panels, ("before", "after"), (before, after), strict=True):
        edges = np.linspace(0, 1, len(found.n) + 1)
        some = found.n > 0
        shares = np.nan_to_num(found.share), found.n / found.n.sum()
        axes.stairs(shares[0], edges, fill=True, color="C0", alpha=0.5, label="right, of the bin")
        axes.stairs(shares[1], edges, color="0.3", label="in the bin, of all decisions")
        at_means = found.score[some], found.share[some]
        axes.plot(*at_means, "C3o", ms=4, clip_on=False, label="right, at the bin's mean score")
        axes.plot([0, 1], [0, 1], "k--", lw=0.8, label="scores that mean what they say")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score")
        axes.set_title(f"{title}: expected calibration error {found.error:.3f}", fontsize=10)
    panels[0].set_ylabel("share of decisions")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, fontsize=8)
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink)  # type: ignore[no-untyped-call]
    return sink.getvalue()
