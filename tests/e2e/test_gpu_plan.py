"""Rows between the operators of the GPU plan, with a GPU in name on which torch uses the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import ROOT
from tests.support.sounds import write_sounds

pytestmark = [pytest.mark.ray, pytest.mark.faults]

N_CLIPS = 30
STORE_MB = 80  # the least that Ray takes
ROW_MB = 3.8  # of a clip of five minutes

SLOW = """
import sys, time
from functools import partial
from pathlib import Path

import numpy as np
import ray
import ray.data

from pipelines.inputs import listing
from pipelines.runtime import cluster
from pipelines.runtime.limits import Limits, Resources
from pipelines.storage.store import open_store
from pipelines.tagging import operators
from pipelines.tagging.job import TagJob
from pipelines.tagging.plan import Plan, receipts
from pipelines.tagging.staged_rows import RowSettings
from tagger.card import read_model

collection, out, model, marks, store_mb = sys.argv[1:]
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False,
         object_store_memory=int(store_mb) << 20, log_to_driver=False)
make_row = operators.preprocess

def mark(kind):
    with Path(marks, kind).open("a") as file:
        file.write(f"{time.time()}\\n")

def preprocess(row, shared):
    made = make_row(row, shared)
    mark("made")
    return made

class Slow(operators.TagOnGpu):
    def __call__(self, row):
        time.sleep(0.6)
        tagged = super().__call__(row)
        mark("used")
        return tagged

operators.preprocess, operators.TagOnGpu = preprocess, Slow
clips, store = listing.gather([collection]), open_store(out)
rows = RowSettings.of(TagJob(inputs=(), out=""), "tiny", "run")
plan = Plan(clips, np.arange(len(clips) + 1), store, rows, Limits(), None)
how = {"model": read_model(model), "workers": cluster.connect(Resources())}
print(sum(done.n_clips for done in receipts(plan, partial(operators.carry_out, **how))))
"""


def test_rows_do_not_pile_up_before_a_slow_gpu(tmp_path: Path, tiny_model: Path) -> None:
    """All of them together would fill the object store; those that wait fill a part of it."""
    assert N_CLIPS * ROW_MB > STORE_MB
    sounds = write_sounds(tmp_path / "in", N_CLIPS, seconds=300.0)
    marks = tmp_path / "marks"
    marks.mkdir()
    arguments = [sounds, tmp_path / "out", tiny_model, marks, STORE_MB]
    done = subprocess.run(
        [sys.executable, "-c", SLOW, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{N_CLIPS}\n", done.stderr
    changes = {"made": 1, "used": -1}
    events = sorted(
        (float(at), change)
        for kind, change in changes.items()
        for at in (marks / kind).read_text().split()
    )
    waiting = most = 0
    for _, change in events:
        waiting += change
        most = max(most, waiting)
    assert 0 < most * ROW_MB < STORE_MB / 2
