"""Ray's Prometheus endpoint has every metric of a run, with its figures; the dashboard knows them.

The head is real, and so is the store, which fails once: a run without a retry has no such counter.
"""

import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.runtime.metrics import METRICS
from pipelines.storage.store import open_store
from tests.support.ray_head import Head
from tests.support.s3_proxy import Fault, S3Proxy
from tests.support.s3_server import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.faults]


@pytest.fixture
def proxy(s3: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    between = S3Proxy(0, s3.ports[0])
    monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
    yield between
    between.close()


@pytest.fixture
def endpoint(proxy: S3Proxy, tmp_path: Path) -> Iterator[tuple[Head, str]]:
    """A head whose workers reach the store through the proxy, and the URL of its metrics."""
    (port,) = free_ports(1)
    node = Head(tmp_path)
    try:
        node.start(2, f"--metrics-export-port={port}")
        yield node, f"http://127.0.0.1:{port}/metrics"
    finally:
        node.stop()


Samples = dict[str, dict[tuple[str, ...], float]]


def scrape(url: str) -> Samples:
    """Samples by name, then by model and what other label of ours they have."""
    found: Samples = defaultdict(dict)
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            ours = (labels.get(name) for name in ("model", "reason", "stage"))
            found[sample.name][tuple(filter(None, ours))] = sample.value
    return found


def test_every_metric_is_scraped_and_agrees_with_the_record(
    endpoint: tuple[Head, str],
    proxy: S3Proxy,
    s3: Any,
    tmp_path: Path,
    begin_tag: Callable[..., Any],
    write_sound: Callable[..., Path],
) -> None:
    head, url = endpoint
    for seed in range(6):
        write_sound(tmp_path / "in" / f"{seed}.wav", seconds=4.0, seed=seed)
    (tmp_path / "in" / "empty.wav").write_bytes(b"")
    out = s3.new_prefix()
    proxy.faults = [Fault("503 SlowDown", r"PUT .*/_staging/", times=1)]
    job = begin_tag(str(tmp_path / "in"), "--out", out, "--max-failed", "1", **head.env)
    wanted = {metric.scraped for metric in METRICS}
    seen: Samples = defaultdict(dict)
    give_up = time.monotonic() + 150
    while not wanted <= seen.keys() and time.monotonic() < give_up:
        time.sleep(1)
        with suppress(OSError):  # the endpoint comes up some seconds after the head
            seen |= scrape(url)
    said = job.communicate()[1]
    assert job.returncode == 0, said
    assert wanted <= seen.keys(), wanted - seen.keys()

    store = open_store(out)
    (path,) = store.list("_runs")
    record = json.loads(store.read(path))
    model = record["model_id"]
    counters = scrape(url)
    assert counters["ray_tagger_clips_total"] == {(model,): 6}
    assert counters["ray_tagger_failures_total"] == {(model, "empty"): 1}
    assert counters["ray_tagger_patches_total"] == {(model,): record["n_segments"]}
    assert counters["ray_tagger_store_retries_total"] == {(model,): 1}
    hours = {(model,): pytest.approx(record["audio_hours"])}
    assert counters["ray_tagger_audio_hours_total"] == hours
    stages = {(model, stage): pytest.approx(s) for stage, s in record["seconds"].items()}
    assert counters["ray_tagger_stage_seconds_total"] == stages
    assert {*seen["ray_tagger_clips_left"]} == {(model,)}
    (completed_at,) = counters["ray_tagger_completed_at_seconds_total"].values()
    assert 0 <= time.time() - completed_at < 3600

    again = begin_tag(str(tmp_path / "in"), "--out", out, **head.env)
    said = again.communicate()[1]
    assert again.returncode == 0, said
    while (later := max(scrape(url)["ray_tagger_completed_at_seconds_total"].values())) == (
        completed_at
    ):
        assert time.monotonic() < give_up
        time.sleep(1)
    assert later > completed_at, "although there was nothing to do"
