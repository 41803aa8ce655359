"""The report of ``reproduce``: the paper's figures, ours, what it cost, and learning curves."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from pipelines.ray_training import RECORD
from pipelines.recipes import Row
from pipelines.store import Store

_TABLES: Final = {
    "2": "Table 2: fine-tuned extractors, one segment",
    "3": "Table 3: model structures and mixup",
    "4": "Table 4: number of segments",
    "K": "Beside the paper",
}


def markdown(
    rows: Sequence[Row],
    figures: dict[str, dict[str, Any]],
    costs: Sequence[tuple[str, float]],
    command: str,
) -> str:
    """The report; ``command`` makes one row alone, its key appended."""
    lines = ["# The paper's tables, here", ""]
    for table, title in _TABLES.items():
        of_table = [row for row in rows if row.key.split("-")[0] == table]
        if of_table:
            lines += [f"## {title}", "", _head(figures[of_table[0].key]), "|---" * 7 + "|"]
            lines += [_line(row, figures[row.key]) for row in of_table]
            lines.append("")
    lines += [
        "MAP@3 ± is the standard deviation over tests (folds), or none with one test. The paper's",
        "figure is on 301 public test clips of FSDKaggle2018 and compares with no other data.",
        "",
        "## One row alone",
        "",
        *(f"    {command} {row.key}" for row in rows),
        "",
        "## What the steps cost",
        "",
        "| step | runs | seconds |",
        "|---|---|---|",
    ]
    spent = defaultdict(list)
    for verb, seconds in costs:
        spent[verb].append(seconds)
    lines += [f"| {verb} | {len(parts)} | {sum(parts):.0f} |" for verb, parts in spent.items()]
    return "\n".join([*lines, "", "![learning curves](curves.png)", ""])


def _head(figures: dict[str, Any]) -> str:
    parts = list(figures["usages"]) or ["mean of tests", "±"]
    first, second = (f"MAP@3 {parts[0]}", f"MAP@3 {parts[1]}" if figures["usages"] else parts[1])
    return f"| row | system | paper | {first} | {second} | MAP@3 all clips | accuracy |"


def _line(row: Row, figures: dict[str, Any]) -> str:
    paper = "" if row.paper != row.paper else f"{row.paper:.3f}"
    usages = [part["map_at_3"] for part in figures["usages"].values()]
    two = usages or [figures["mean"]["map_at_3"], figures["spread"]["map_at_3"]]
    total = figures["all"]
    return (
        f"| {row.key} | {row.what} | {paper} | {two[0]:.3f} | {two[1]:.3f} | "
        f"{total['map_at_3']:.3f} | {total['accuracy']:.3f} |"
    )


def curves(store: Store) -> bytes:
    """Loss against epoch of every network, one panel per kind, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels: dict[str, list[list[dict[str, Any]]]] = defaultdict(list)
    for path in [*store.list("extractors"), *store.list("heads")]:
        if path.endswith(RECORD):
            folder, name, *_ = path.split("/")
            panel = f"head {name}" if folder == "heads" else "extractors"
            panels[panel].append(json.loads(store.read(path))["history"])
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    figure = Figure(figsize=(4 * n_columns, 2.6 * n_rows), layout="constrained")
    for axes, (title, histories) in zip(
        figure.subplots(n_rows, n_columns, squeeze=False).flat, panels.items(), strict=False
    ):
        for history in histories:
            epochs = [epoch["epoch"] for epoch in history]
            axes.plot(epochs, [epoch["train_loss"] for epoch in history], "C0", lw=0.7)
            if history and history[0]["validation_loss"] is not None:
                axes.plot(epochs, [epoch["validation_loss"] for epoch in history], "C1", lw=0.7)
        axes.set_title(f"{title}: loss, training blue, validation orange", fontsize=7)
        axes.tick_params(labelsize=6)
    sink = io.BytesIO()
    FigureCanvasAgg(figure).print_png(sink)  # type: ignore[no-untyped-call]
    return sink.getvalue()
