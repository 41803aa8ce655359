"""Rows from stored embeddings are those of tagging again, whoever is killed on the way."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.housekeeping.forget import forget
from pipelines.housekeeping.jobs import ForgetJob
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.run_records import RunRecord
from pipelines.output.settings import read_settings
from pipelines.retagging import embedded
from pipelines.retagging.job import RetagJob
from pipelines.retagging.run import NO_TEXTURE, ROUNDED, Retagging, retag
from pipelines.retagging.sources import find_source
from pipelines.retagging.upgrading import upgrade
from pipelines.storage.store import Store, open_store
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tagger.attention import MultiLevelAttention
from tagger.card import read_model
from tagger.checkpoint import build, save
from tagger.configs import AttentionConfig
from tagger.errors import CommandError
from tagger.heard import Heard
from tagger.labels import Label
from tagger.tagging import Tagger
from tagger.vggish import initialise
from tests.support.mortal import Killed, mortal
from tests.support.outputs import assert_verified, content, copy_to, tables
from tests.support.sounds import write_sound
from tests.support.tiny_model import save_model_that_knows_noise, save_tiny_model

OTHER_LABELS = [Label("Wren", "/m/1"), Label("Wind"), Label("Bus"), Label("Owl")]
TIMES = ("processed_at", "run_id")


@pytest.fixture(scope="module")
def new_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the tiny model's extractors, under another name, with another head."""
    networks = build(read_model(tiny_model))
    torch.manual_seed(3)
    head = MultiLevelAttention(len(OTHER_LABELS), AttentionConfig(hidden=8))
    initialise(head)
    folder = tmp_path_factory.mktemp("new")
    save(folder, "new", OTHER_LABELS, {"z": networks.extractors["b"]}, [("z", head)], {})
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of one bag and of more, one with a time in its name, and one that fails."""
    folder = tmp_path_factory.mktemp("audio")
    for seed, seconds in enumerate((1.0, 7.0, 20.0)):
        write_sound(folder / f"20240101_06300{seed}.wav", seconds, seed=seed)
    (folder / "empty.wav").write_bytes(b"")
    return folder


def tag_all(audio: Path, out: str, model: Path, **given: object) -> None:
    settings = {"max_failed": 1.0, "event_threshold": 0.3, "top_k": 5, **given}
    tag(TagJob(inputs=(str(audio),), out=out, model=str(model), **settings), [])


@pytest.fixture(scope="module")
def tagged(audio: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An output of the tiny model, in two entries."""
    out = str(tmp_path_factory.mktemp("tagged") / "out")
    tag_all(audio, out, tiny_model, limit=2)
    tag_all(audio, out, tiny_model)
    return open_store(out)


@pytest.fixture
def copied(tagged: Store, tmp_path: Path) -> Store:
    """A copy of ``tagged`` that may be written to."""
    return copy_to(str(tmp_path / "out"), content(tagged))


def of_model(store: Store, name: str) -> dict[str, list[dict[str, object]]]:
    """The rows of one model, without when and by which run; sorted."""
    found = {}
    for table in tables(store):
        files = [Path(store.root, path) for path in store.list(table) if f"model={name}-" in path]
        rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
        rows = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        found[table] = sorted(rows, key=lambda row: [str(v) for v in row.values()][:6])
    return found


def assert_same(found: object, expected: object) -> None:
    """The same rows, numbers within 1e-6."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        assert found == (
            pytest.approx(expected, abs=1e-6) if isinstance(expected, float) else expected
        )


def test_as_if_tagged_again(copied, audio, new_model, tmp_path):
    done = retag(RetagJob(out=copied.root, model=str(new_model)), ["retag"])
    assert (done.n_clips, done.n_before, done.notes) == (3, 0, ())
    tag_all(audio, str(tmp_path / "again"), new_model)
    expected = of_model(open_store(str(tmp_path / "again")), "new")
    assert expected["events"]
    assert expected["timeline"]
    found = of_model(copied, "new")
    assert found.pop("failures") == []
    expected.pop("failures")
    assert_same(found, expected)
    assert_verified(copied)


def test_what_is_done_is_not_done_again(copied, audio, new_model):
    job = RetagJob(out=copied.root, model=str(new_model))
    retag(job, [])
    before = tables(copied)
    again = retag(job, [])
    assert (again.n_clips, again.n_before) == (0, 3)
    assert tables(copied) == before
    audio_only = TagJob(
        inputs=(f"{audio}/2*.wav",),
        out=copied.root,
        model=str(new_model),
        event_threshold=0.3,
        top_k=5,
    )
    record = tag(audio_only, [])
    assert (record.n_listed, record.n_done_before, record.n_to_do) == (3, 3, 0)


def test_of_each_recording_the_last_version_and_nothing_forgotten(tmp_path, tiny_model, new_model):
    for name in "abc":
        write_sound(tmp_path / "audio" / f"{name}.wav")
    out = str(tmp_path / "out")
    tag_all(tmp_path / "audio", out, tiny_model)
    write_sound(tmp_path / "audio" / "a.wav", 2.0, seed=9)
    tag_all(tmp_path / "audio", out, tiny_model)
    forget(ForgetJob(out=out, uris=(str(tmp_path / "audio" / "b.wav"),)))
    assert retag(RetagJob(out=out, model=str(new_model)), []).n_clips == 2
    clips = of_model(open_store(out), "new")["clips"]
    assert {clip["uri"][-5:]: clip["duration_s"] for clip in clips} == {"a.wav": 2.0, "c.wav": 1.0}


def test_float16_is_told_and_near(tmp_path, tiny_model, new_model, out_url):
    audio = write_sound(tmp_path / "a.wav")
    tag_all(audio, out_url, tiny_model, embedding_dtype="float16")
    done = retag(RetagJob(out=out_url, model=str(new_model)), [])
    assert done.notes == (ROUNDED,)
    tag_all(audio, str(tmp_path / "again"), new_model)
    new = [row for row in tables(open_store(out_url))["tags"] if row["model_id"] == done.model_id]
    exact = tables(open_store(str(tmp_path / "again")))["tags"]
    scores = [{(row["uri"], row["tag"]): row["score"] for row in rows} for rows in (new, exact)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-2)


def test_rows_of_the_same_model_made_anew_are_the_same(copied, tiny_model):
    before = tables(copied)
    done = retag(RetagJob(out=copied.root), [])
    assert (done.n_clips, done.model_id) == (3, done.embedded_by)
    assert tables(copied) == before
    assert_verified(copied)


def test_novelty_is_kept_or_made_of_what_there_is(audio, tiny_model, tmp_path):
    """The same model keeps what the recordings told; another has no textures to go by."""
    strict = save_model_that_knows_noise(tmp_path / "model")
    told, out = str(tmp_path / "told"), str(tmp_path / "out")
    tag_all(audio, told, strict)
    before = tables(open_store(told))
    assert all(row["novelty"] is not None for row in before["clips"])
    retag(RetagJob(out=told), [])
    assert tables(open_store(told)) == before
    tag_all(audio, out, tiny_model)
    assert retag(RetagJob(out=out, model=str(strict)), []).notes == (NO_TEXTURE,)
    tagger = Tagger.load(strict)
    for row in tables(open_store(out))["clips"]:
        if row["model_id"] != tagger.card.model_id:
            assert (row["novelty"], row["none_of_these"]) == (None, None)
            continue
        vectors = np.stack([*tagger.tag(row["uri"].removeprefix("file://")).embeddings.values()])
        (prediction,) = tagger.predict([vectors])
        textless = Heard(vectors, np.empty((vectors.shape[1], 0), np.float32))
        wanted = tagger.novelty_of(textless, prediction)
        assert row["novelty"] == pytest.approx(wanted, abs=0.03)
        assert row["none_of_these"] == (row["novelty"] > 0.95)


def test_other_extractors_are_refused_in_a_line_that_names_both(copied, tmp_path):
    other = save_tiny_model(tmp_path / "other", seed=2)
    with pytest.raises(
        CommandError, match=r"^tiny-\w{8} cannot tag by .* of tiny-\w{8}, which has"
    ):
        retag(RetagJob(out=copied.root, model=str(other)), [])


def test_one_line_for_what_cannot_be(copied, tiny_model, new_model, tmp_path):
    audio = write_sound(tmp_path / "a.wav")
    bare = str(tmp_path / "bare")
    tag_all(audio, bare, tiny_model, embeddings=False)
    with pytest.raises(CommandError, match="without embeddings"):
        retag(RetagJob(out=bare, model=str(new_model)), [])
    with pytest.raises(CommandError, match=r"has no tables of new-\w{8} "):
        retag(RetagJob(out=copied.root, model=str(tiny_model), from_=str(new_model)), [])
    moved = shutil.copytree(tiny_model, tmp_path / "moved")
    out = str(tmp_path / "out-of-moved")
    tag_all(audio, out, moved)
    shutil.move(moved, tmp_path / "away")
    with pytest.raises(CommandError, match=r"does not lie any more .*/moved: name its folder"):
        retag(RetagJob(out=out, model=str(new_model)), [])
    assert retag(RetagJob(out=out, model=str(new_model), from_=f"{tmp_path}/away"), []).n_clips == 1


@pytest.mark.usefixtures("without_fsync")
def test_killed_before_any_change_a_retag_is_whole_in_the_end(
    tagged, tmp_path, new_model, monkeypatch
):
    files = content(tagged)
    job = RetagJob(out=tagged.root, model=str(new_model))
    source = find_source(job, tagged, read_settings(tagged))
    tagger = Tagger(source.model)

    def begin(store: Store) -> None:
        run = Run("run-9", "2026-11-26")
        record = RunRecord(run.run_id, [], {}, source.model.card.model_id)
        Retagging(store, source, tagger, record, run, Lock(store, "new", "r")).work()

    whole = copy_to(str(tmp_path / "whole"), files)
    begin(whole)
    wanted = without_times(tables(whole))
    for n_changes in range(0, 1000, 2):
        store = copy_to(str(tmp_path / f"{n_changes}"), files)
        try:
            begin(mortal(store, n_changes))
        except Killed:
            begin(store)
            assert without_times(tables(store)) == wanted
            assert_verified(store)
        else:
            break
    assert n_changes > 5


def without_times(found: dict[str, list[dict[str, object]]]) -> dict[str, object]:
    return {
        name: [{k: v for k, v in row.items() if k != "processed_at"} for row in rows]
        for name, rows in found.items()
    }


@pytest.mark.usefixtures("without_fsync")
def test_killed_before_any_change_an_upgrade_leaves_old_rows_or_new_ones(tagged, tmp_path):
    files = content(tagged)
    source = find_source(RetagJob(out=tagged.root), tagged, read_settings(tagged))
    tagger = Tagger(source.model)
    run = Run("run-9", "2026-11-26")
    before = tables(tagged)
    for n_changes in range(0, 1000, 7):
        store = copy_to(str(tmp_path / f"{n_changes}"), files)
        try:
            upgrade(mortal(store, n_changes), source, tagger, run)
        except Killed:
            seen = [row["clip_id"] for row in tables(store)["clips"]]
            assert len(seen) == len({*seen})
            assert upgrade(store, source, tagger, run) == 3
            assert tables(store) == before
            assert_verified(store)
        else:
            break
    assert n_changes > 20


def test_large_entries_are_read_in_batches(copied, new_model, tmp_path, monkeypatch):
    plain = copy_to(str(tmp_path / "plain"), content(copied))
    job = RetagJob(out=plain.root, model=str(new_model))
    retag(job, [])
    monkeypatch.setattr(embedded, "MOST_SEGMENTS", 1)
    retag(RetagJob(out=copied.root, model=str(new_model)), [])
    assert_same(of_model(copied, "new"), of_model(plain, "new"))
