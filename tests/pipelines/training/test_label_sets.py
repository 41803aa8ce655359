"""From clips with several labels to a model that says each of them, without Ray."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from pipelines.training import evaluate, finetune, label_set_report, prepare
from pipelines.training.jobs import EvaluateJob, FinetuneJob, PrepareJob, PublishJob
from pipelines.training.scores import score
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.workfolder.patches import Prepared, load_patches
from tagger import label_metrics
from tagger.configs import AttentionConfig, TrainingConfig, VGGishConfig
from tagger.errors import CommandError, OptionError
from tagger.tagging import Tagger
from tests.support.small_data import RATE_HZ, prepare_here, tone, train_member

N_LABELS = 3
MEMBER = ("h", "x")


def sounds(labels: list[int], seed: int, seconds: float = 2.0) -> np.ndarray:
    """The tones of some labels at once, in noise."""
    noise = np.random.default_rng(seed).normal(0, 0.01, round(seconds * RATE_HZ))
    return sum((tone(label, seed, seconds) for label in labels), noise) / 4


def write_sets(folder: Path, per_fold: int = 3) -> Path:
    """A CSV in three folds of clips with no, one and two labels."""
    sets = [[], [0], [1], [2], [0, 1], [1, 2], [0, 2]]
    rows = ["uri,label,fold"]
    for fold in (1, 2, 3):
        for number, labels in enumerate(sets * per_fold):
            name = f"{fold}-{number}.wav"
            soundfile.write(folder / name, sounds(labels, 100 * fold + number), RATE_HZ)
            text = json.dumps([f"tone {label}" for label in labels]).replace('"', '""')
            rows.append(f'{name},"{text}",{fold}')
    path = folder / "clips.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A member that was trained on folds 2 and 3."""
    top = tmp_path_factory.mktemp("sets")
    prepared = prepare_here(
        PrepareJob(
            data=str(write_sets(top)),
            work=str(top / "work"),
            labels="several",
            label_separator="json",
            copies=1,
            most_semitones=1,
            balance=False,
        )
    )
    training = TrainingConfig(
        epochs=6, patience=None, batches="balanced", learning_rate=5e-3, one_cycle=True, mixup=0.2
    )
    extractor = ExtractorSpec(
        name="x",
        split="fold-1",
        vggish=VGGishConfig((4, 4, 8, 8), 16),
        training=training,
        copies=1,
        normalise=True,
    )
    head = HeadSpec(
        name="h",
        network=AttentionConfig(2, hidden=16),
        training=replace(training, epochs=40, batches="examples", batch_size=32),
        copies=1,
    )
    train_member(prepared, extractor, head)
    return prepared


def test_the_work_folder_remembers_that_clips_have_several_labels(trained):
    assert trained.info["labelling"] == trained.dataset.labelling == "several"
    sets = trained.dataset.label_sets()
    assert sets.sum(0).tolist() == [27, 27, 27]
    loaded = load_patches(trained, np.arange(len(sets)), 1)
    assert (loaded.takes.labels == sets[loaded.clips]).all()


def test_each_label_is_found_in_clips_that_were_not_trained_on(trained):
    (test,) = score(trained, (MEMBER,))
    truth = trained.dataset.label_sets()[test.clips]
    assert label_metrics.mean_average_precision(test.ensemble, truth) > 0.9
    n_labels = truth.sum(1)
    assert test.ensemble[n_labels == 2].sum(1).mean() > 1.4
    assert test.ensemble[n_labels == 0].sum(1).mean() < 1


@pytest.fixture(scope="module")
def evaluated(trained, tmp_path_factory):
    """The record of an evaluation, its folder in the work folder, and the model's folder."""
    folder = tmp_path_factory.mktemp("models") / "sets"
    job = EvaluateJob(
        work=trained.store.root,
        name="e",
        members=(MEMBER, ("classifier", "x")),
        publish=None,
    )
    record = evaluate.run(job, [])
    publish = PublishJob(folder=str(folder), name="sets")
    evaluate.run(replace(job, name="m", members=(MEMBER,), publish=publish), [])
    return record, Path(trained.store.root, "evaluations", "e"), folder


def test_an_evaluation_measures_label_by_label(trained, evaluated):
    record, folder, _ = evaluated
    scored = score(trained, (MEMBER, ("classifier", "x")))
    truth = trained.dataset.label_sets()[scored[0].clips]
    expected = label_metrics.mean_average_precision(scored[0].members.mean(0), truth)
    assert record.metrics["all"]["map"] == pytest.approx(expected, abs=1e-4)
    assert set(record.metrics["tests"]["fold-1"]["members"]) == {"h upon x", "classifier upon x"}
    assert [row["n_clips"] for row in record.metrics["per_class"]] == [9, 9, 9]
    report = (folder / "report.md").read_text()
    assert "each has a score of its own, and they do not sum to 1" in report
    assert "accuracy" not in report
    assert not (folder / "confusion.png").exists()


def test_predictions_hold_label_sets_and_the_least_score_of_each(evaluated):
    rows = pq.read_table(evaluated[1] / "predictions.parquet").to_pylist()
    assert len(rows) == 21
    for row in rows:
        own = [row[f"score_{name}"] for name in json.loads(row["label"])]
        assert row["label_score"] == (min(own) if own else None)


def test_a_published_model_tags_what_it_hears(evaluated):
    tagger = Tagger.load(evaluated[2])
    assert tagger.card.labelling == "several"
    assert "do not sum to 1" in tagger.card.about["scores"]
    result = tagger.tag_waveform(sounds([0, 2], 5), RATE_HZ, top_k=3)
    assert {tag.tag for tag in result.tags[:2]} == {"tone 0", "tone 2"}
    assert sum(tag.score for tag in result.tags) > 1.2
    assert len(tagger.tag_waveform(sounds([], 5), RATE_HZ, threshold=0.5).tags) == 0


def test_a_split_that_leaves_a_label_without_clips_is_refused(tmp_path):
    csv = tmp_path / "clips.csv"
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", tone(0, 1), RATE_HZ)
    csv.write_text("uri,label,fold\na.wav,x;y,1\nb.wav,x,2\nc.wav,x,1\n")
    job = PrepareJob(data=str(csv), work=str(tmp_path / "w"), labels="several", label_separator=";")
    told: list[str] = []
    prepare.run(job, [], told.append)
    assert "labels a clip: 1.33 on average, 2 at most; clips without labels: 0" in told
    assert "one clip only to train on: y" in told
    spec = ExtractorSpec(name="x", split="fold-1", training=TrainingConfig(patience=None))
    with pytest.raises(CommandError, match="fold-1 leaves classes without clips to train on: y"):
        finetune.run(FinetuneJob(work=job.work, extractors=(spec,)), [])
    with pytest.raises(OptionError, match="label_separator is for"):
        prepare.run(replace(job, labels="one"), [], told.append)


def test_a_stretch_of_a_recording_is_prepared_as_a_recording_of_its_own(tmp_path):
    sound = np.concatenate([tone(label, 1, 3.0) for label in range(3)])
    soundfile.write(tmp_path / "long.wav", sound, RATE_HZ, "FLOAT")
    soundfile.write(tmp_path / "alone.wav", sound[4 * RATE_HZ : 7 * RATE_HZ], RATE_HZ, "FLOAT")
    csv = tmp_path / "clips.csv"
    rows = ["uri,label,start_s,end_s", "long.wav,a,4,7", "alone.wav,a,,", "long.wav,a,20,"]
    csv.write_text("\n".join(rows) + "\n")
    prepared = prepare_here(PrepareJob(data=str(csv), work=str(tmp_path / "w"), copies=1))
    loaded = load_patches(prepared, np.arange(3), 0)
    cut, alone = np.split(loaded.takes.values, 2)
    np.testing.assert_array_equal(cut, alone)
    (failure,) = prepared.failures().to_pylist()
    assert failure["detail"] == "the recording ends at 9.000 s, and its clip begins at 20.000 s"


def test_clips_without_labels_alone_measure_nothing(trained):
    (test,) = score(trained, (MEMBER,))
    without = ~trained.dataset.label_sets()[test.clips].any(1)
    silent = replace(test, clips=test.clips[without], members=test.members[:, without])
    with pytest.raises(CommandError, match="no clip of fold-1 has a label"):
        label_set_report.figures(trained.dataset, [silent])
