"""A data set to patches: which copies, how, and what becomes of clips that cannot be read."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from pipelines.runtime.limits import Limits
from pipelines.storage.store import open_store
from pipelines.training import prepare
from pipelines.training.jobs import PrepareJob
from pipelines.training.workfolder.patches import open_prepared, patches_of, shard
from tagger import audio, dataset, logmel, sampling
from tagger.errors import CommandError
from tests.support.small_data import RATE_HZ, tone, write_folds

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # its own settings'


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
    given = job(folder, work, shift_start=True)
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
    rows = [row for table in found.shards() for row in table.to_pylist()]
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
    rows = [row for table in found.shards() for row in table.to_pylist()]
    # 6 clips of class a against 2 of class b, which get two copies each.
    assert [row["name"] for row in rows if row["copy"]] == ["b/0.wav"] * 2 + ["b/1.wav"] * 2
    assert all(row["n_semitones"] != 0 for row in rows if row["copy"])
    assert all(row["n_semitones"] == row["offset_s"] == 0 for row in rows if not row["copy"])


@pytest.mark.ray
def test_patches_are_those_of_the_library(prepared, folder):
    _, _, found = prepared
    for table in found.shards():
        for row, value in zip(table.to_pylist(), table["patches"], strict=True):
            if row["copy"] == 0:
                expected = logmel.patches(audio.waveform(folder / row["name"])[1])
                np.testing.assert_allclose(patches_of(value), expected, atol=0.005)


@pytest.mark.ray
def test_a_second_run_makes_nothing_and_a_missing_shard_is_made_again(prepared):
    given, _, found = prepared
    before = [found.store.read(shard(n)) for n in range(found.n_shards)]
    assert prepare.run(given, []).metrics["n_shards_made"] == 0
    found.store.remove([shard(0)])
    with pytest.raises(CommandError, match="run prepare"):
        open_prepared(found.store)
    assert prepare.run(given, []).metrics["n_shards_made"] == 1
    assert [found.store.read(shard(n)) for n in range(found.n_shards)] == before


@pytest.mark.ray
def test_a_failure_that_may_pass_is_tried_again(tmp_path, monkeypatch, ray_cluster):
    data = write_folds(tmp_path, n_folds=1)
    given = PrepareJob(data=str(data), work=str(tmp_path / "work"), balance=False)
    hidden = tmp_path / "1-0-0.wav"
    original = prepare.connect

    def connect(resources: object) -> object:
        hidden.rename(tmp_path / "hidden")
        return original(resources)

    monkeypatch.setattr(prepare, "connect", connect)
    assert prepare.run(given, []).metrics["failures"] == {"vanished": 1}
    monkeypatch.undo()
    (tmp_path / "hidden").rename(hidden)
    store = open_store(given.work)
    store.write(f"embeddings/x/all/{Path(shard(0)).name}", b"of the shard that lacks a clip")
    assert prepare.run(given, []).metrics["failures"] == {}
    assert store.list("embeddings") == []
    assert prepare.run(given, []).metrics["n_shards_made"] == 0


def test_a_shard_made_again_drops_its_embeddings_only_if_it_differs(tmp_path):
    data = write_folds(tmp_path, n_folds=1)
    given = PrepareJob(data=str(data), work=str(tmp_path / "work"), balance=False)
    store = open_store(given.work)
    plan = prepare.make_plan(dataset.load(given.data), given, store)
    prepare.make(plan, 0)
    store.write(f"embeddings/x/0/all/{Path(shard(0)).name}", b"of its patches")
    prepare.make(plan, 0)
    assert len(store.list("embeddings")) == 1
    (tmp_path / "1-0-0.wav").unlink()
    prepare.make(plan, 0)
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
def test_takes_of_some_clips(prepared):
    _, _, found = prepared
    clips = found.dataset.clips
    wanted = np.flatnonzero(clips["name"].isin(["b/1.wav", "a/3.wav"]).to_numpy())
    takes, owners = found.takes(wanted, 1)
    assert clips["name"].iloc[owners].tolist() == ["a/3.wav", "b/1.wav", "b/1.wav"]
    assert np.diff(takes.starts)[:2].tolist() == [4, 2]  # the copy starts late
    assert takes.labels.tolist() == [0, 1, 1]


def test_nothing_prepared_is_told(tmp_path):
    with pytest.raises(CommandError, match="run prepare first"):
        open_prepared(open_store(str(tmp_path)))


def test_takes_depend_on_name_copy_and_seed_alone():
    plain = PrepareJob(data="", work="", seed=3)
    takes = prepare.takes_of("x.wav", 5, plain)
    assert takes == prepare.takes_of("x.wav", 9, plain)[:6]
    assert [take.n_semitones for take in takes[1:]] == [
        sampling.draw_semitones("x.wav", copy, 3) for copy in range(1, 6)
    ]
    assert {take.offset for take in takes} == {0}
    moved = prepare.takes_of("x.wav", 5, PrepareJob(data="", work="", seed=3, shift_start=True))
    offsets = [take.offset for take in moved]
    assert offsets[0] == 0
    assert len(set(offsets)) == 6
    assert max(offsets) < logmel.PATCH_HOP
    few = PrepareJob(data="", work="", most_semitones=2)
    assert {abs(t.n_semitones) for t in prepare.takes_of("x.wav", 9, few)[1:]} == {1, 2}


def test_a_copy_starts_late_but_keeps_one_patch():
    recording = np.concatenate([tone(0, 0, 1.2), tone(4, 0, 1.2)])
    buffer = io.BytesIO()
    soundfile.write(buffer, recording, RATE_HZ, format="WAV")
    takes = [prepare.Take(0, 0, 0), prepare.Take(1, 0, 8_000), prepare.Take(2, 0, 40_000)]
    whole, late, last = prepare.decode_takes(buffer.getvalue(), takes, 1.0)
    assert [len(patches) for patches in (whole, late, last)] == [2, 1, 1]
    np.testing.assert_allclose(late[0, :46], whole[0, 50:], atol=1e-4)


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
    }
    takes = prepare.takes_of("bad.wav", 2, PrepareJob(data="", work=""))
    patches, failures = prepare.make_shard(pa.Table.from_pylist([clip]), [takes], Limits())
    assert len(patches) == 0
    assert failures["name"].to_pylist() == ["bad.wav"]
