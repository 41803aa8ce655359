"""The operators that Ray makes of the job, and that both plans do the same."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.runtime.cluster import Workers

pytestmark = pytest.mark.ray

BOTH_PLANS = """
import copy, io, sys, warnings
from dataclasses import replace
from functools import partial
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, ray, ray.data

from pipelines.runtime import cluster
from pipelines.inputs import listing
from pipelines.runtime.limits import Limits, Resources
from pipelines.tagging import batch_tagger, operators
from pipelines.tagging.job import TagJob
from pipelines.tagging.plan import Plan, receipts
from pipelines.output import layout
from pipelines.tagging.staged_rows import RowSettings
from pipelines.storage.store import open_store
from tagger.card import read_model

ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False,
         object_store_memory=200 << 20, log_to_driver=False)
ray.data.DataContext.get_current()
collection, out, model = sys.argv[1:]
workers = cluster.connect(Resources())
assert workers == cluster.Workers(2, 1), workers
halves = cluster.connect(Resources(gpus_per_actor=0.5))
assert halves == cluster.Workers(2, 1, 0.5) and halves.n_actors == 2, halves
assert cluster.connect(Resources(gpus=0)) == cluster.Workers(2, 0)
clips, store = listing.gather([collection]), open_store(out)
rows = RowSettings.of(TagJob(inputs=(), out="", timeline=True), "tiny", "run")
plan = Plan(clips, np.array([0, 3, 4, len(clips)]), store, rows, Limits(), "float32", 4)

def rows_of(carry_out, plan=plan, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        found = list(receipts(plan, partial(carry_out, model=read_model(model), **how)))
    for receipt in found:
        assert {"patches", "model", "rows", "staging"} <= set(receipt.tally.seconds), receipt
    staged = [store.read(layout.staged("tiny", receipt.file)) for receipt in found]
    tables = [pq.read_table(io.BytesIO(data)) for data in staged]
    table = pa.concat_tables(tables).drop_columns(["processed_at"]).sort_by("uri")
    return sorted(len(table) for table in tables), table.to_pylist()

on_cpu = rows_of(operators.carry_out, workers=cluster.Workers(2, 0))
on_gpu = rows_of(operators.carry_out, workers=workers)
here = rows_of(batch_tagger.carry_out)
small_rows = replace(plan, most_packed_bytes=96 * 64 * 4, extractor_batch=2)
in_rows = rows_of(operators.carry_out, small_rows, workers=halves)
# of [3, 1, 3] clips with 1, 1, 1 | none | 2, 2, none patches the last one is left over
assert on_cpu[0] == on_gpu[0] == here[0] == [1, 1, 2, 3], (on_cpu[0], on_gpu[0], here[0])
# where a row takes one patch, the clips that have two follow whole
assert in_rows[0] == [1] * 7, in_rows[0]
for other_way in (on_gpu, here, in_rows):
    for one, other in zip(copy.deepcopy(on_cpu[1]), other_way[1], strict=True):
        values = one.pop("embedding_values"), other.pop("embedding_values")
        np.testing.assert_allclose(*values, 1e-5, 1e-5)
        for kind in ("tags", "timeline", "events"):
            for a, b in zip(one.pop(kind), other.pop(kind), strict=True):
                for name in ("score", "max_score", "peak_score", "mean_score", "attention"):
                    np.testing.assert_allclose(a.pop(name, 0), b.pop(name, 0), 1e-5)
                assert a == b
        assert one == other
print(len(on_cpu[1]), "rows")
"""


def operators_of(workers: Workers, capsys: pytest.CaptureFixture[str]) -> list[str]:
    import ray

    from pipelines.tagging.operators import Shared, all_in_one, on_gpus

    nothing = ray.put(None)
    plan = on_gpus if workers.n_gpus else all_in_one
    plan(Shared(nothing, nothing), range(3), workers).explain()
    physical = capsys.readouterr().out.rpartition("Physical Plan")[2]
    return re.findall(r"(\w+)\[(Map[^\]]*)\]", physical)[::-1]


def test_on_cpus_one_pool_of_actors_does_everything(
    ray_cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operators_of(Workers(2, 0), capsys) == [("ActorPoolMapOperator", "MapBatches(AllInOne)")]


def test_with_gpus_there_are_three_operators(
    ray_cluster: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operators_of(Workers(2, 1), capsys) == [
        ("TaskPoolMapOperator", "MapBatches(preprocess)"),
        ("ActorPoolMapOperator", "MapBatches(TagOnGpu)"),
        ("TaskPoolMapOperator", "MapBatches(write_staged)"),
    ]


def test_both_plans_give_the_same_rows_on_two_cpus(tmp_path: Path, tiny_model: Path) -> None:
    """In a process of its own, with a GPU in name only, on which torch computes with the CPU."""
    collection = tmp_path / "in"
    collection.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        soundfile.write(collection / f"{i}.wav", 0.1 * rng.standard_normal(8_000 * (i + 1)), 16_000)
    (collection / "3.5.wav").write_bytes(b"nothing")
    (collection / "9.ogg").write_bytes(b"")
    arguments = [str(collection), str(tmp_path / "out"), str(tiny_model)]
    done = subprocess.run(
        [sys.executable, "-c", BOTH_PLANS, *arguments], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "7 rows\n"
