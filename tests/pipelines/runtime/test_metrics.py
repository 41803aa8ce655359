"""The dashboard and the alert rules speak of metrics that exist.

That Ray's endpoint has these is in ``tests/e2e/test_metrics.py``; what the rules say of made-up
days is in ``docs/alerts_test.yaml``, for ``promtool test rules``.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.runtime.metrics import METRICS, Metric

DOCS = Path(__file__).parents[3] / "docs"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((DOCS / "grafana.json").read_text())
IN_ALERTS = [rule["expr"] for rule in RULES]
IN_PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]

LABELS = {"model"} | {label for metric in METRICS for label in metric.labels}


def names(expressions: list[str]) -> set[str]:
    return {name for each in expressions for name in re.findall(r"\b(?:ray_|tagger:)[\w:]+", each)}


def test_names_are_as_prometheus_has_them() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"tagger_[a-z_]+", metric.name)
        assert re.fullmatch(r"[A-Z].*\.", metric.description)
    assert Metric("tagger_x", "").scraped == "ray_tagger_x_total"
    assert Metric("tagger_x", "", is_counter=False).scraped == "ray_tagger_x"


def test_alerts_and_panels_use_only_what_exists() -> None:
    there_are = {metric.scraped for metric in METRICS}
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    assert names(IN_PANELS) == there_are, "and the dashboard shows them all"
    assert names(IN_ALERTS) <= there_are | recorded


@pytest.mark.parametrize("expression", IN_ALERTS + IN_PANELS)
def test_labels_exist(expression: str) -> None:
    used = re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
    assert {label for each in used for label in each.split(", ")} <= LABELS


def test_there_are_three_alerts_that_say_what_to_do() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len(alerts) == 3
    for alert in alerts:
        assert {*alert["annotations"]} == {"summary", "description"}
        assert alert["for"]
        assert alert["labels"]["severity"]


def test_panels_have_a_place_and_a_title_each() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [tuple(panel["gridPos"].values()) for panel in panels]
    assert len({*places}) == len(panels)
    assert all(panel["title"] and panel["targets"] for panel in panels)
