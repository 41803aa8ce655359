"""The report of ``reproduce``: the paper's figures, ours, and what it cost."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.paper.recipes import Row
from pipelines.storage.store import Store
from pipelines.training.workfolder.networks import RECORD

_TABLES: Final = {
    "2": "Table 2: fine-tuned extractors, one segment",
    "3": "Table 3: model structures and mixup",
    "4": "Table 4: number of segments",
    "K": "Beside the paper",
}

_STEPS: Final = (
    ("six segments with attention instead of one segment", "3-A", "3-C"),
    ("attention instead of an LSTM", "3-B", "3-C"),
    ("pitch shift", "3-C", "3-D"),
    ("mixup 0.1", "3-D", "3-E"),
    ("mixup 0.2", "3-D", "3-F"),
    ("mixup 0.4", "3-D", "3-G"),
    ("mixup 1.0", "3-D", "3-H"),
    ("three levels instead of one", "K", "3-D"),
)
"""Each of the paper's ideas, with the rows before and after it."""

FloatArray = npt.NDArray[np.float64]
Networks = dict[str, list[dict[str, Any]]]


def networks(store: Store) -> Networks:
    """Records of all networks trained in the work folder, those of a kind together."""
    found: Networks = defaultdict(list)
    for path in [*store.list("extractors"), *store.list("heads")]:
        record = json.loads(store.read(path)) if path.endswith(RECORD) else {}
        if record.get("history"):
            folder, name, *_ = path.split("/")
            found[f"head {name}" if folder == "heads" else record["spec"]["network"]].append(record)
    return found


def markdown(
    rows: Sequence[Row],
    figures: dict[str, dict[str, Any]],
    trained: Networks,
    costs: Sequence[tuple[str, float]],
    made_by: str,
    one_row: str,
) -> str:
    """The report; the command ``one_row`` makes one row alone, its key appended."""
    lines = ["# The paper's tables, here", "", f"    {made_by}", ""]
    for table, title in _TABLES.items():
        of_table = [row for row in rows if row.key.split("-")[0] == table]
        if of_table:
            lines += [f"## {title}", "", _head(figures[of_table[0].key]), "|---" * 8 + "|"]
            lines += [_line(row, figures[row.key]) for row in of_table]
            lines.append("")
    lines += [
        "± is the standard deviation over tests (folds), 0 with one test. The paper's figure is on",
        "301 public test clips of FSDKaggle2018 and compares with no other data.",
        "",
        *_steps(rows, figures),
        "## One row alone",
        "",
        *(f"    {one_row} {row.key}" for row in rows),
        "",
        "## What training cost",
        "",
        "Examples are patches (vggish), windows of 0.25 s (baseline), bags (heads) or clips (B).",
        "Seconds include the validation after each epoch. One worker trains a network, or all of",
        "them do with `--together`.",
        "",
        "| network | trained | epochs, mean | s/epoch | examples/s |",
        "|---|---|---|---|---|",
        *(_cost(kind, records) for kind, records in trained.items()),
        "",
        "## What the steps cost",
        "",
        "Runs that were killed are not in it.",
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
    usages = [f"MAP@3 {usage}" for usage in figures["usages"]]
    first, second = usages if len(usages) == 2 else ("MAP@3 mean of tests", "±")
    return (
        f"| row | system | paper | {first} | {second} | MAP@3 all clips | accuracy | "
        "MAP@3 of one member, mean |"
    )


def _line(row: Row, figures: dict[str, Any]) -> str:
    paper = "" if np.isnan(row.paper) else f"{row.paper:.3f}"
    usages = [part["map_at_3"] for part in figures["usages"].values()]
    over = [figures["mean"]["map_at_3"], figures["spread"]["map_at_3"]]
    first, second = usages if len(usages) == 2 else over
    total = figures["all"]
    return (
        f"| {row.key} | {row.what} | {paper} | {first:.3f} | {second:.3f} | "
        f"{total['map_at_3']:.3f} | {total['accuracy']:.3f} | "
        f"{figures['single_member_mean']['map_at_3']:.3f} |"
    )


def _steps(rows: Sequence[Row], figures: dict[str, dict[str, Any]]) -> list[str]:
    """What each of the paper's ideas adds, test by test."""
    paper = {row.key: row.paper for row in rows}
    lines = [
        _step(
            f"{what} ({before} to {after})",
            paper[after] - paper[before],
            _by_test(figures[after]) - _by_test(figures[before]),
        )
        for what, before, after in _STEPS
        if before in figures and after in figures
    ]
    lines += [
        _step(
            f"the ensemble instead of one member ({key})",
            float("nan"),
            _by_test(figures[key]) - _members_by_test(figures[key]),
        )
        for key in ("2-all", "3-F")
        if key in figures
    ]
    head = ["## What each step adds", "", "| step | paper | MAP@3 here | ± |", "|---" * 4 + "|"]
    return [*head, *lines, ""] if lines else []


def _step(what: str, paper: float, added: FloatArray) -> str:
    told = "" if np.isnan(paper) else f"{paper:+.3f}"
    return f"| {what} | {told} | {added.mean():+.3f} | {added.std():.3f} |"


def _by_test(figures: dict[str, Any]) -> FloatArray:
    """MAP@3 of each test."""
    return np.array([test["ensemble"]["map_at_3"] for test in figures["tests"].values()])


def _members_by_test(figures: dict[str, Any]) -> FloatArray:
    """MAP@3 of a member, the mean over members, of each test."""
    members = [test["members"].values() for test in figures["tests"].values()]
    return np.array([np.mean([member["map_at_3"] for member in each]) for each in members])


def _cost(kind: str, records: list[dict[str, Any]]) -> str:
    n_epochs = sum(len(record["history"]) for record in records)
    seconds = sum(record["seconds"] for record in records)
    n_examples = sum(epoch["n_examples"] for record in records for epoch in record["history"])
    return (
        f"| {kind} | {len(records)} | {n_epochs / len(records):.1f} | "
        f"{seconds / max(n_epochs, 1):.2f} | {n_examples / max(seconds, 0.01):.0f} |"
    )
