"""Which clips a calibration is fitted on, and that its figures are of other clips."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from pipelines.cli.exit_codes import Exit
from pipelines.cli.main import main
from pipelines.storage.store import open_store
from pipelines.training import evaluate
from pipelines.training.calibrating import HeldOut, calibrate, held_out, measured
from pipelines.training.jobs import EvaluateJob, PublishJob
from pipelines.training.scores import Scored, score, score_validation
from pipelines.training.splits import parts
from tagger import label_texts
from tagger.calibration import fit_temperature, reliability
from tagger.dataset import Dataset
from tagger.ensemble import at_temperature
from tagger.errors import OptionError
from tagger.labels import LabelSet
from tagger.tagging import Tagger
from tests.support.small_data import train_member
from tests.support.tables import read_tables


@pytest.fixture
def trained(prepared, extractor, head):
    """Work folder in which extractors of these splits, each with head h, have the split's name."""

    def train(*splits):
        for split in splits:
            train_member(prepared, replace(extractor, name=split, split=split), head)
        return prepared, tuple(("h", split) for split in splits)

    return train


def test_a_split_with_validation_clips_is_calibrated_on_them(trained):
    prepared, members = trained("fold-1-first")
    scored = score(prepared, members)
    held = held_out(prepared, members, scored)
    split = parts(prepared.dataset, "fold-1-first")
    assert held.clips.tolist() == split.validation.tolist()
    np.testing.assert_array_equal(held.scores, score_validation(prepared, members)[0].ensemble)
    assert held.truth.argmax(1).tolist() == prepared.dataset.truth()[split.validation].tolist()
    found = calibrate(prepared, members, scored, None)
    expected = fit_temperature(held.scores, held.truth, "one")
    assert found.calibration.temperature == pytest.approx(expected, abs=1e-4)
    test = scored[0]
    truth = prepared.dataset.label_sets()[test.clips]
    after = at_temperature(test.ensemble, found.calibration.temperature, "one")
    assert found.measured.before.error == reliability(test.ensemble, truth, "one").error
    assert found.measured.after.error == reliability(after, truth, "one").error


def test_members_that_validate_on_other_clips_score_their_own(trained):
    """first and last: no clip is validated by both, and none is scored by who has learned it."""
    prepared, members = trained("fold-1-first", "fold-1-last")
    held = held_out(prepared, members, score(prepared, members))
    assert (
        np.unique(held.clips).tolist()
        == np.flatnonzero(prepared.dataset.clips["fold"].to_numpy() > 1).tolist()
    )
    assert len(held.clips) == 18
    for member in members:
        (own,) = score_validation(prepared, [member])
        rows = np.isin(held.clips, own.clips)
        np.testing.assert_array_equal(held.scores[rows], own.ensemble)


def test_folds_calibrate_what_is_trained_on_everything(trained, tmp_path):
    prepared, members = trained("fold-1", "fold-2", "fold-3", "all")
    publish = PublishJob(folder=str(tmp_path / "model"), name="m")
    job = EvaluateJob(work=prepared.store.root, name="e", members=members, publish=publish)
    figures = evaluate.run(job, []).metrics["calibration"]
    card = Tagger.load(tmp_path / "model").card
    assert [member.extractor for member in card.members] == ["all"]
    assert card.about["calibration"] == figures
    assert figures["n_clips"] == 27
    assert figures["clips"] == (
        "clips of fold-1, fold-2, fold-3, each scored by members that were trained on the other "
        "folds"
    )
    scored = score(prepared, members)
    pooled = np.concatenate([test.ensemble for test in scored])
    truth = prepared.dataset.label_sets()[np.concatenate([t.clips for t in scored])]
    expected = fit_temperature(pooled, truth, "one")
    assert card.calibration.temperature == pytest.approx(expected, abs=1e-4)
    assert len(card.calibration.thresholds) == 3
    report = prepared.store.read("evaluations/e/report.md").decode()
    assert "Calibrated on 27 clips of fold-1, fold-2, fold-3, each" in report
    assert f"| {figures['ece_before']:.3f} | {figures['ece_after']:.3f} |" in report
    assert prepared.store.read("evaluations/e/reliability.png")[1:4] == b"PNG"
    assert json.loads(prepared.store.read("evaluations/e/metrics.json"))["calibration"] == figures


def test_tag_writes_the_tags_that_reach_their_thresholds(trained, tmp_path):
    """From the work folder to the tables; a clip without any tag keeps its row."""
    prepared, members = trained("fold-1-first")
    model, out = tmp_path / "model", str(tmp_path / "out")
    publish = PublishJob(folder=str(model), name="m")
    job = EvaluateJob(work=prepared.store.root, name="e", members=members, publish=publish)
    evaluate.run(job, [])
    tagger = Tagger.load(model)
    limits = tagger.card.calibration.least_scores
    some = [str(tmp_path / f"1-{label}-0.wav") for label in range(3)]
    scores = {f"file://{path}": tagger.tag(path).prediction.scores for path in some}
    expected = {
        (uri, f"class{k}")
        for uri, values in scores.items()
        for k in range(3)
        if values[k] >= limits[k]
    }
    assert main(["tag", *some, "--out", out, "--model", str(model)]) == Exit.DONE
    tables = read_tables(out)
    assert {(row["uri"], row["tag"]) for row in tables.get("tags", [])} == expected
    assert {row["uri"] for row in tables["clips"]} == {*scores}
    assert json.loads(open_store(out).read("_output.json"))["threshold"] == "card"
    assert main(["status", out, "--verify"]) == Exit.DONE
    again = ["tag", *some, "--out", out, "--model", str(model), "--threshold"]
    assert (main([*again, "card"]), main([*again, "0.5"])) == (Exit.DONE, Exit.COMMAND)


def test_without_such_clips_there_is_no_calibration(trained, tmp_path, caplog):
    prepared, members = trained("all")
    publish = PublishJob(folder=str(tmp_path / "model"), name="m")
    job = EvaluateJob(work=prepared.store.root, name="e", members=members, publish=publish)
    evaluate.run(job, [])
    assert "e has neither temperature nor thresholds: that takes validation clips" in caplog.text
    assert Tagger.load(tmp_path / "model").card.calibration is None
    assert json.loads((tmp_path / "model" / "card.json").read_text())["format"] == 1
    with pytest.raises(OptionError, match="needs validation clips"):
        evaluate.run(replace(job, precision=0.9), [])


def a_dataset(n):
    names = [f"{i}.wav" for i in range(n)]
    clips = pd.DataFrame({"name": names, "label": np.where(np.arange(n) % 2, "b", "a")})
    return Dataset("csv", LabelSet.of("ab"), clips)


def overconfident(dataset, seed=0):
    """Scores of 0.95 for the first tag, of which four in five are right; (n, 2)."""
    rng = np.random.default_rng(seed)
    right = rng.random(len(dataset.clips)) < 0.8
    best = np.where(right, dataset.truth(), 1 - dataset.truth())
    return np.where(best[:, None] == np.arange(2), 0.95, 0.05).astype(np.float32)


def two_tests(dataset):
    scores = overconfident(dataset)
    halves = np.split(np.arange(len(scores)), 2)
    return [
        Scored(f"fold-{i}", (("h", "x"),), clips, scores[None, clips])
        for i, clips in enumerate(halves, 1)
    ]


def held_of(dataset, scored):
    clips = np.concatenate([test.clips for test in scored])
    scores = np.concatenate([test.ensemble for test in scored])
    return HeldOut(clips, scores, dataset.label_sets()[clips], "clips")


def test_no_test_is_measured_by_what_was_fitted_on_it():
    dataset = a_dataset(4000)
    scored = two_tests(dataset)
    held = held_of(dataset, scored)
    found = measured(held, dataset, scored, None)
    after, truth = [], []
    for own, other in (scored, scored[::-1]):
        one = held_of(dataset, [other])
        temperature = round(fit_temperature(one.scores, one.truth, "one"), 4)
        after.append(at_temperature(own.ensemble, temperature, "one"))
        truth.append(dataset.label_sets()[own.clips])
    expected = reliability(np.concatenate(after), np.concatenate(truth), "one")
    assert found.after.error == expected.error
    assert found.figures["ece_before"] > 0.1 > 0.05 > found.figures["ece_after"]


def test_tags_above_thresholds_have_the_precision_that_is_asked_for():
    dataset = a_dataset(400)
    held = held_of(dataset, two_tests(dataset))
    assert held.calibration("one", 0.85).never == [0, 1]  # four in five are right at any score
    rng = np.random.default_rng(1)
    noise = rng.uniform(0.3, 1, len(held.scores)).astype(np.float32)[:, None]
    held = replace(held, scores=held.scores**noise / (held.scores**noise).sum(1, keepdims=True))
    found = held.calibration("one", 0.85)
    tags = at_temperature(held.scores, found.temperature, "one") >= found.least_scores
    for label in range(2):
        assert held.truth[tags[:, label], label].mean() >= 0.85


def test_a_test_whose_clips_are_all_there_is_gives_no_figures():
    dataset = a_dataset(20)
    scored = two_tests(dataset)[:1]
    assert measured(held_of(dataset, scored), dataset, scored, None) is None


def test_label_sets_are_calibrated_label_by_label():
    """Scores whose log odds are three times too large, of clips with none, one or two labels."""
    rng = np.random.default_rng(3)
    odds = rng.normal(0, 1.5, (2000, 2))
    sets = rng.random(odds.shape) < expit(odds)
    texts = [
        label_texts.to_text([name for name, has in zip("ab", row, strict=True) if has])
        for row in sets
    ]
    clips = pd.DataFrame({"name": [f"{i}.wav" for i in range(2000)], "label": texts})
    dataset = Dataset("csv", LabelSet.of("ab"), clips, labelling="several")
    scores = expit(3 * odds).astype(np.float32)
    scored = [
        Scored(f"fold-{i}", (("h", "x"),), part, scores[None, part], "several")
        for i, part in enumerate(np.split(np.arange(2000), 2), 1)
    ]
    held = HeldOut(np.arange(2000), scores, dataset.label_sets(), "clips")
    assert held.calibration("several", None).temperature == pytest.approx(3, rel=0.1)
    found = measured(held, dataset, scored, None)
    assert found.figures["ece_before"] > 0.1 > 0.03 > found.figures["ece_after"]
    assert found.before.n.sum() == 4000  # every label of every clip
    assert measured(held, dataset, scored, 0.9).figures["precision"] == pytest.approx(0.9, abs=0.03)
