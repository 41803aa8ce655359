"""A data set to patches: which copies, how, and what becomes of clips that cannot be read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from pipelines.runtime.limits import Limits, Resources
from pipelines.storage.store import open_store
from pipelines.training import prepare
from pipelines.training.clip_takes import takes_of
from pipelines.training.jobs import PrepareJob
from pipelines.training.take_shards import make_shard
from pipelines.training.workfolder.patches import FOLDER, load_patches, open_prepared, patches_of
from pipelines.training.workfolder.shards import shard_path
from tagger import audio, dataset, logmel
from tagger.errors import CommandError
from tests.support.small_data import RATE_HZ, shards, tone, write_folds

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # its own settings'

ON_RAY = Resources(cpus=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, of 4 and of 2 clips; in the first an empty file and one that is no audio."""
    top = tmp_path_factory.mktemp("data")
    for label, n in (("a", 4), ("b", 2)):
        (top / label).mkdir()
        for i in range(n):
            soundfile.write(top / label / f"{i}.wav", tone(ord(label), i, 1.0 + i), RATE_HZ)
    (top / "a" / "empty.wav").write_bytes(b"")
    (top / "a" / "text.wav").write_text("not audio")
    return top


def job(folder: Path, work: Path, **given: object) -> PrepareJob:
    return PrepareJob(data=str(folder), work=str(work), **given)


@pytest.fixture(scope="module")
def prepared(folder: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: str):
    work = tmp_path_factory.mktemp("work")
    given = job(folder, work, shift_start=True, resources=ON_RAY)
    record = prepare.run(given, ["prepare"])
    return given, record, open_prepared(open_store(str(work)))


@pytest.mark.ray
def test_every_clip_is_prepared_or_a_failure(prepared):
    _, record, found = prepared
    failures = found.failures().to_pylist()
    assert {row["name"]: row["reason"] for row in failures} == {
        "a/empty.wav": "empty",
        "a/text.wav": "unsupported",
    }
    rows = [row for table in shards(found) for row in table.to_pylist()]
    assert {row["name"] for row in rows if row["copy"] == 0} == {
        *(f"a/{i}.wav" for i in range(4)),
        *(f"b/{i}.wav" for i in range(2)),
    }
    assert record.metrics["failures"] == {"empty": 1, "unsupported": 1}
    assert record.metrics["n_clips"] == 6
    assert record.state == "complete"


@pytest.mark.ray
def test_copies_raise_each_class_to_the_largest(prepared):
    _, _, found = prepared
    rows = [row for table in shards(found) for row in table.to_pylist()]
    # 6 clips of class a against 2 of class b, which get two copies each.
    assert [row["name"] for row in rows if row["copy"]] == ["b/0.wav"] * 2 + ["b/1.wav"] * 2
    assert all(row["n_semitones"] != 0 for row in rows if row["copy"])
    assert all(row["n_semitones"] == row["offset_s"] == 0 for row in rows if not row["copy"])


@pytest.mark.ray
def test_patches_are_those_of_the_library(prepared, folder):
    _, _, found = prepared
    for table in shards(found):
        for i, row in enumerate(table.to_pylist()):
            if row["copy"] == 0:
                expected = logmel.patches(audio.waveform(folder / row["name"])[1])
                value = patches_of(table["patches"].slice(i, 1))
                np.testing.assert_allclose(value, expected, atol=0.005)


@pytest.mark.ray
def test_a_small_data_set_is_prepared_here_and_alike(prepared, folder, tmp_path, monkeypatch):
    monkeypatch.delattr(prepare, "connect")  # the way to Ray
    record = prepare.run(job(folder, tmp_path, shift_start=True), [])
    _, on_ray, there = prepared
    assert record.metrics == on_ray.metrics
    here = open_prepared(open_store(str(tmp_path)))
    assert [*shards(here)] == [*shards(there)]
    assert here.failures().equals(there.failures())


@pytest.mark.ray
def test_a_second_run_makes_nothing_and_a_missing_shard_is_made_again(prepared):
    given, _, found = prepared
    before = [found.store.read(shard_path(FOLDER, n)) for n in range(found.n_shards)]
    assert prepare.run(given, []).metrics["n_shards_made"] == 0
    found.store.remove([shard_path(FOLDER, 0)])
    with pytest.raises(CommandError, match="run prepare"):
        open_prepared(found.store)
    assert prepare.run(given, []).metrics["n_shards_made"] == 1
    assert [found.store.read(shard_path(FOLDER, n)) for n in range(found.n_shards)] == before


@pytest.mark.ray
def test_a_failure_that_may_pass_is_tried_again(tmp_path, monkeypatch, ray_cluster):
    data = write_folds(tmp_path, n_folds=1)
    given = PrepareJob(data=str(data), work=str(tmp_path / "work"), balance=False, resources=ON_RAY)
    hidden = tmp_path / "1-0-0.wav"
    original = prepare.connect

    def connect(*asked: object) -> object:
        hidden.rename(tmp_path / "hidden")
        return original(*asked)

    monkeypatch.setattr(prepare, "connect", connect)
    assert prepare.run(given, []).metrics["failures"] == {"vanished": 1}
    monkeypatch.undo()
    (tmp_path / "hidden").rename(hidden)
    store = open_store(given.work)
    store.write(shard_path("embeddings/x/all", 0), b"of the shard that lacks a clip")
    assert prepare.run(given, []).metrics["failures"] == {}
    assert store.list("embeddings") == []
    assert prepare.run(given, []).metrics["n_shards_made"] == 0


def test_a_shard_made_again_drops_its_embeddings_only_if_it_differs(tmp_path):
    data = write_folds(tmp_path, n_folds=1)
    given = PrepareJob(data=str(data), work=str(tmp_path / "work"), balance=False)
    store = open_store(given.work)
    plan = prepare.plan_shards(dataset.load(given.data), given, store)
    prepare.write_shard(plan, 0)
    store.write(shard_path("embeddings/x/0/all", 0), b"of its patches")
    prepare.write_shard(plan, 0)
    assert len(store.list("embeddings")) == 1
    (tmp_path / "1-0-0.wav").unlink()
    prepare.write_shard(plan, 0)
    assert store.list("embeddings") == []


def test_credentials_in_a_data_set_are_refused_before_they_are_written(tmp_path):
    (tmp_path / "clips.csv").write_text("uri,label\nhttps://me:secret@h/x.wav,a\ny.wav,b\n")
    (tmp_path / "y.wav").write_bytes(b"")
    given = PrepareJob(data=str(tmp_path / "clips.csv"), work=str(tmp_path / "work"))
    with pytest.raises(CommandError, match="credentials") as told:
        prepare.run(given, [])
    assert "secret" not in str(told.value)
    assert not (tmp_path / "work").exists()


@pytest.mark.ray
def test_other_settings_in_the_same_work_folder_are_refused(prepared, folder):
    given, _, _ = prepared
    with pytest.raises(CommandError, match="another --work"):
        prepare.run(job(folder, Path(given.work), seed=5), [])


@pytest.mark.ray
def test_a_copy_that_starts_late_has_fewer_patches(prepared):
    _, _, found = prepared
    clips = found.dataset.clips
    wanted = np.flatnonzero(clips["name"].isin(["b/1.wav", "a/3.wav"]).to_numpy())
    loaded = load_patches(found, wanted, 1)
    assert clips["name"].iloc[loaded.clips].tolist() == ["a/3.wav", "b/1.wav", "b/1.wav"]
    assert np.diff(loaded.takes.starts)[:2].tolist() == [4, 2]
    assert loaded.takes.labels.tolist() == [0, 1, 1]


def test_a_clip_that_fails_has_no_take_at_all(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    status = (tmp_path / "bad.wav").stat()
    clip = {
        "clip": 0,
        "name": "bad.wav",
        "label": "a",
        "split": "train",
        "fold": None,
        "uri": f"file://{tmp_path}/bad.wav",
        "version": f"{status.st_size}-{status.st_mtime_ns}",
        "size_bytes": 4,
        "problem": None,
        **dict.fromkeys(("start_s", "end_s")),
    }
    takes = takes_of("bad.wav", 2, PrepareJob(data="", work=""))
    patches, failures = make_shard(pa.Table.from_pylist([clip]), [takes], Limits())
    assert len(patches) == 0
    assert failures["name"].to_pylist() == ["bad.wav"]
