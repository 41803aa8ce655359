"""The steps that a work folder has seen, one row each: what was asked, and what came of it."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from pipelines.output import layout
from pipelines.storage.store import Store
from tagger.errors import CommandError

ABOUT: Final = ("run_id", "verb", "state", "wall_s")
_FIGURES: Final = {
    "prepare": ("n_clips", "n_takes"),
    "embed": ("n_segments", "segments_per_s"),
    "evaluate": (
        "all.accuracy",
        "all.map_at_3",
        "balanced_accuracy",
        "spread.map_at_3",
        "over_labels.map",
        "calibration.ece_before",
        "calibration.ece_after",
    ),
}
"""Of a step's metrics, by verb."""

_OF_NETWORKS: Final = ("train_loss", "validation_loss", "validation_map_at_3")
"""Of the last epoch of each network that a step has trained."""


def run_table(store: Store) -> pd.DataFrame:
    """One row for each step, oldest first.

    Returns
    -------
    The columns of ``ABOUT``; the settings that are not the same in all steps of a verb, with
    dotted names; then figures. What a step does not have is missing.

    Raises
    ------
    CommandError : the folder holds no records
    """
    records = [json.loads(store.read(path)) for path in store.list(layout.RUNS)]
    records = [record for record in records if "verb" in record]
    if not records:
        raise CommandError(f"{store.root} holds no records of training steps: run prepare first")
    settings = pd.DataFrame([dict(_flat(record["config"])) for record in records])
    verbs = pd.Series([record["verb"] for record in records])
    differs = [
        name
        for name in settings
        if (settings[name].astype(str).groupby(verbs).nunique() > 1).any() and name != "work"
    ]
    figures = pd.DataFrame([_figures(record) for record in records])
    about = pd.DataFrame([{name: record[name] for name in ABOUT} for record in records])
    return pd.concat([about, settings[differs], figures], axis=1)


def _flat(content: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted name and plain value; a list of one stands for its element."""
    if isinstance(content, list) and len(content) == 1:
        content = content[0]
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _flat(value, f"{name}.{key}" if name else key)
    elif isinstance(content, list):
        yield name, json.dumps(content)
    else:
        yield name, content


def _figures(record: dict[str, Any]) -> dict[str, float]:
    """The figures of a step; the mean over networks where it trained several."""
    metrics = record["metrics"]
    flat = dict(_flat(metrics))
    found = {name: flat[name] for name in _FIGURES.get(record["verb"], ()) if name in flat}
    last = [network["history"][-1] for network in metrics.values() if _is_network(network)]
    for name in _OF_NETWORKS:
        values = [epoch[name] for epoch in last if epoch.get(name) is not None]
        if values:
            found[name] = sum(values) / len(values)
    return found


def _is_network(metric: Any) -> bool:
    return isinstance(metric, dict) and bool(metric.get("history"))
