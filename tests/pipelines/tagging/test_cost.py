"""What a run will probably cost."""

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.output import layout
from pipelines.runtime.limits import Resources
from pipelines.storage.store import open_store
from pipelines.tagging.cost import BUILT_IN, NO_GPU_RATE, cost
from pipelines.tagging.job import TagJob
from tagger.card import read_model
from tagger.errors import OptionError
from tagger.schema import LISTING

CARD = read_model().card


def an_hour_of_wav(n):
    rows = [
        {"clip_id": str(i), "uri": f"file:///{i}.wav", "version": "1", "size_bytes": 3600 * 176_400}
        for i in range(n)
    ]
    return pa.Table.from_pylist(rows, schema=LISTING)


def job(tmp_path, **more):
    return TagJob(inputs=("in",), out=str(tmp_path), **more)


def write_run(store, run_id, **fields):
    store.write(layout.run_record(run_id), json.dumps(fields).encode())


def test_without_earlier_runs_the_rate_is_built_in(tmp_path):
    found = cost(an_hour_of_wav(3), CARD, job(tmp_path), open_store(str(tmp_path)))
    assert found.audio_hours == pytest.approx(3)
    assert (found.rate, found.hours, found.money) == (BUILT_IN, None, None)


def test_earlier_runs_of_the_model_tell_the_rate(tmp_path):
    store = open_store(str(tmp_path))
    spent = {"patches": 100.0, "model": 260.0}
    write_run(store, "1", model_id=CARD.model_id, audio_s=3600.0, seconds=spent)
    write_run(store, "2", model_id=CARD.model_id, audio_s=0.0, seconds={})
    write_run(store, "3", model_id="other-1", audio_s=3600.0, seconds={"model": 9e9})
    write_run(store, "4", verb="prepare")  # a step of the training has no model
    job_ = job(tmp_path, price_per_hour=0.5)
    found = cost(an_hour_of_wav(10), CARD, job_, store)
    assert found.cpu_hours == pytest.approx(1.0)
    assert found.money == pytest.approx(0.5)
    assert found.rate.startswith("1 earlier runs of this output, 1.0 h")


def test_gpu_hours_are_told_by_runs_that_used_gpus(tmp_path):
    store = open_store(str(tmp_path))
    on_two = job(tmp_path, resources=Resources(cpus=2, gpus=2), price_per_hour=0.5)
    found = cost(an_hour_of_wav(10), CARD, on_two, store)
    assert (found.gpu_hours, found.hours, found.money, found.rate) == (
        None,
        None,
        None,
        NO_GPU_RATE,
    )
    assert found.cpu_hours == pytest.approx(10 * (0.005 + 0.003 * 3600) / 3600)

    config = {"resources": {"gpus_per_actor": 0.5}}
    spent = {"patches": 18.0, "model": 72.0}
    of_gpus = {"model_id": CARD.model_id, "audio_s": 3600.0, "config": config, "n_gpus": 1}
    write_run(store, "1", **of_gpus, seconds=spent)
    write_run(store, "2", **of_gpus | {"n_gpus": 0, "seconds": {"model": 9e9}})
    for asked in (on_two, replace(on_two, resources=Resources(cpus=2))):
        found = cost(an_hour_of_wav(10), CARD, asked, store)
        assert (found.cpu_hours, found.gpu_hours) == (pytest.approx(0.05), pytest.approx(0.1))
        assert found.money is None  # nobody said what a GPU costs
    found = cost(an_hour_of_wav(10), CARD, replace(on_two, price_per_gpu_hour=2.0), store)
    assert (found.hours, found.money) == (pytest.approx(0.05), pytest.approx(0.225))
    on_cpus = job(tmp_path, resources=Resources(gpus=0))
    assert cost(an_hour_of_wav(1), CARD, on_cpus, store).gpu_hours == 0


def test_embeddings_are_most_of_the_bytes(tmp_path):
    store = open_store(str(tmp_path))
    sizes = [
        cost(an_hour_of_wav(1), CARD, job(tmp_path, **more), store).output_bytes
        for more in ({"embeddings": False}, {"embedding_dtype": "float16"}, {})
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < 10_000 < 500_000 < sizes[1]


def test_a_price_is_greater_than_nothing(tmp_path):
    with pytest.raises(OptionError, match="price_per_hour must be greater than 0"):
        job(tmp_path, price_per_hour=0.0)
