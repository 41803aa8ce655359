"""The report of ``reproduce``: the paper's figures, ours, and what it cost."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.paper.intervals import half_width
from pipelines.paper.recipes import Row
from pipelines.storage.store import Store
from pipelines.training.workfolder.networks import RECORD

FIRST: Final = "first"  # as the name of a seed

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

Figures = Mapping[str, Mapping[str, Any]]
"""Of one row: what ``evaluate`` measured, by the name of the seed."""


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
    figures: Mapping[str, Figures],
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
            lines += [f"## {title}", "", _head(figures[of_table[0].key]), "|---" * 9 + "|"]
            lines += [_line(row, figures[row.key]) for row in of_table]
            lines.append("")
    lines += [
        f"Networks of {_count(max(map(len, figures.values())), 'seed')}. ± is the standard "
        "deviation over tests (folds), of the",
        "mean over seeds, and over seeds, of the mean over tests. The paper's figure is on 301",
        "public test clips of FSDKaggle2018 and compares with no other data.",
        "",
        *_steps(rows, figures),
        *_course(trained),
        "## One row alone",
        "",
        *(f"    {one_row} {row.key}" for row in rows),
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
    return "\n".join([*lines, ""])


def _head(of_seeds: Figures) -> str:
    usages = [f"MAP@3 {usage}" for usage in _any(of_seeds)["usages"]]
    first, second = usages if len(usages) == 2 else ("MAP@3 mean of tests", "± over tests")
    return (
        f"| row | system | paper | {first} | {second} | ± over seeds | MAP@3 all clips | "
        "accuracy | MAP@3 of one member, mean |"
    )


def _line(row: Row, of_seeds: Figures) -> str:
    paper = "" if np.isnan(row.paper) else f"{row.paper:.3f}"
    by_test = np.array([list(_by_test(found).values()) for found in of_seeds.values()])
    usages = [_mean(of_seeds, "usages", name, "map_at_3") for name in _any(of_seeds)["usages"]]
    first, second = usages if len(usages) == 2 else (by_test.mean(), by_test.mean(0).std())
    shown = [
        first,
        second,
        by_test.mean(1).std(ddof=1) if len(of_seeds) > 1 else None,
        _mean(of_seeds, "all", "map_at_3"),
        _mean(of_seeds, "all", "accuracy"),
        _mean(of_seeds, "single_member_mean", "map_at_3"),
    ]
    values = " | ".join("" if value is None else f"{value:.3f}" for value in shown)
    return f"| {row.key} | {row.what} | {paper} | {values} |"


def _steps(rows: Sequence[Row], figures: Mapping[str, Figures]) -> list[str]:
    """What each of the paper's ideas adds, test by test and seed by seed."""
    paper = {row.key: row.paper for row in rows}
    lines = [
        _step(
            f"{what} ({before} to {after})",
            paper[after] - paper[before],
            _added(figures[before], figures[after]),
            _test_share(figures[after]),
        )
        for what, before, after in _STEPS
        if before in figures and after in figures
    ]
    lines += [
        _step(
            f"the ensemble instead of one member ({key})",
            float("nan"),
            _added(figures[key], figures[key], before=_members_by_test),
            _test_share(figures[key]),
        )
        for key in ("2-all", "3-F")
        if key in figures
    ]
    head = [
        "## What each step adds",
        "",
        "Means of paired differences, one for each test and seed, with their 95 % intervals. These",
        "are corrected for training clips that tests share (Nadeau and Bengio 2003).",
        "",
        "| step | paper | MAP@3 here | 95 % interval |",
        "|---" * 4 + "|",
    ]
    return [*head, *lines, ""] if lines else []


def _step(what: str, paper: float, added: FloatArray, test_share: float) -> str:
    told = "" if np.isnan(paper) else f"{paper:+.3f}"
    mean, half = added.mean(), half_width(added, test_share)
    interval = "" if np.isnan(half) else f"{mean - half:+.3f} to {mean + half:+.3f}"
    return f"| {what} | {told} | {mean:+.3f} | {interval} |"


def _by_test(found: Mapping[str, Any]) -> dict[str, float]:
    """MAP@3 of the ensemble, by test."""
    return {name: test["ensemble"]["map_at_3"] for name, test in found["tests"].items()}


def _members_by_test(found: Mapping[str, Any]) -> dict[str, float]:
    """MAP@3 of a member, the mean over members, by test."""
    return {
        name: float(np.mean([member["map_at_3"] for member in test["members"].values()]))
        for name, test in found["tests"].items()
    }


def _added(
    one: Figures,
    other: Figures,
    before: Callable[[Mapping[str, Any]], dict[str, float]] = _by_test,
) -> FloatArray:
    """Differences (n,) of two rows, for each seed that both have and each test."""
    return np.array(
        [
            after - before(one[seed])[test]
            for seed in one
            if seed in other
            for test, after in _by_test(other[seed]).items()
        ]
    )


def _test_share(of_seeds: Figures) -> float:
    """Test clips as a share of the others, mean over tests; 0 with one test."""
    tests = _any(of_seeds)["tests"].values()
    n_clips = np.array([test["ensemble"]["n_clips"] for test in tests])
    return float((n_clips / (n_clips.sum() - n_clips)).mean()) if len(n_clips) > 1 else 0.0


def _course(trained: Networks) -> list[str]:
    """What training came to and cost, by kind of network."""
    return [
        "## How training went",
        "",
        "Best at the end: of the networks that stop early, those that were still improving when",
        "their last epoch had come. Examples are patches (vggish), windows of 0.25 s (baseline),",
        "bags (heads) or clips (B). Seconds include the validation after each epoch. One worker",
        "trains a network, or all of them do with `--together`.",
        "",
        "| network | trained | epochs, mean | steps, mean | fewest steps | best step, mean | "
        "best at the end | s/epoch | examples/s |",
        "|---" * 9 + "|",
        *(_cost(kind, records) for kind, records in trained.items()),
        "",
        "![learning curves](curves.png)",
        "",
    ]


def _cost(kind: str, records: list[dict[str, Any]]) -> str:
    n_epochs = sum(len(record["history"]) for record in records)
    seconds = sum(record["seconds"] for record in records)
    n_examples = sum(epoch["n_examples"] for record in records for epoch in record["history"])
    steps = [record["n_steps"] for record in records if "n_steps" in record]
    best = [
        record["n_steps"] * record["best_epoch"] / len(record["history"])
        for record in records
        if "n_steps" in record
    ]
    told = f"{np.mean(steps):.0f} | {min(steps)} | {np.mean(best):.0f}" if steps else " |  | "
    stops = [record for record in records if _patience(record) is not None]
    late = sum(record["best_epoch"] == len(record["history"]) for record in stops)
    return (
        f"| {kind} | {len(records)} | {n_epochs / len(records):.1f} | {told} | "
        f"{f'{late} of {len(stops)}' if stops else ''} | "
        f"{seconds / max(n_epochs, 1):.2f} | {n_examples / max(seconds, 0.01):.0f} |"
    )


def _patience(record: dict[str, Any]) -> int | None:
    spec = record["spec"]
    patience: int | None = spec.get("wanted", spec)["training"]["patience"]
    return patience


def _any(of_seeds: Figures) -> Mapping[str, Any]:
    return next(iter(of_seeds.values()))


def _mean(of_seeds: Figures, *names: str) -> float:
    """The mean over seeds of the figure at nested names."""
    return float(np.mean([reduce(getitem, names, found) for found in of_seeds.values()]))


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
