"""What a published model tells strange clips by: of which clips, and as ``tag`` measures them."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines.training import evaluate
from pipelines.training.jobs import EvaluateJob, PublishJob
from pipelines.training.novelty import fit, known_groups
from pipelines.training.splits import parts
from tagger import Tagger, audio, logmel
from tagger.novelty import Novelty
from tagger.reference import Reference
from tests.support.small_data import train_member

FOLDS = ("fold-1", "fold-2", "fold-3")
MEMBERS = tuple(("h", name) for name in (*FOLDS, "all"))


@pytest.fixture
def members(prepared, extractor, head):
    """A member that leaves out each of three folds, and one trained on all."""
    for name in (*FOLDS, "all"):
        train_member(prepared, replace(extractor, name=name, split=name), head)
    return MEMBERS


def measured(prepared, tagger: Tagger, rows) -> list:
    """What a tagger hears in clips of the data set, read from their files, with its bag scores."""
    found = []
    for uri in prepared.dataset.clips["uri"].iloc[rows]:
        _, waveform = audio.waveform(uri.removeprefix("file://"))
        heard = tagger.hear(logmel.patches(waveform))
        (prediction,) = tagger.predict([heard.embeddings])
        found.append((heard, prediction.bag_scores))
    return found


def publish(prepared, members, folder: Path) -> Tagger:
    job = PublishJob(folder=str(folder), name="m")
    evaluate.run(EvaluateJob(work=prepared.store.root, name="e", members=members, publish=job), [])
    return Tagger.load(folder)


def test_known_clips_of_folds_are_measured_by_members_that_leave_them_out(
    prepared, members, tmp_path
):
    """From the work folder as from the recordings, by models of the folds' members alone."""
    groups = known_groups(prepared, [("h", "all")], members)
    assert [group.members for group in groups] == [(("h", name),) for name in FOLDS]
    distances = []
    for group, name in zip(groups, FOLDS, strict=True):
        split = parts(prepared.dataset, name)
        assert (group.trained.tolist(), group.known.tolist()) == (
            split.train.tolist(),
            split.test.tolist(),
        )
        tagger = publish(prepared, group.members, tmp_path / name)
        assert tagger.novelty is None  # nine clips are too few
        tagger.novelty = Novelty.fit  # that it hears textures
        trained = measured(prepared, tagger, group.trained)
        labels = prepared.dataset.label_sets()[group.trained]
        reference = Reference.of([heard for heard, _ in trained], labels)
        distances += [
            reference.distances(*each) for each in measured(prepared, tagger, group.known)
        ]
    found = fit(prepared, [("h", "all")], members, 1.0)
    wanted = Novelty.fit(found.reference, np.array(distances))
    np.testing.assert_allclose(found.known, wanted.known, atol=0.05)  # patches are float16


def test_a_published_model_says_none_of_these_of_a_far_clip(prepared, members, tmp_path):
    tagger = publish(prepared, members, tmp_path / "model")
    card = tagger.card
    assert card.novelty.limit == 0.95
    assert card.about["novelty"] == {"n_known_clips": 27, "false_alarms": 0.05}
    assert [part.name for part in card.extractors] == ["all"]
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "noise.wav", 0.3 * rng.standard_normal(32_000), 16_000)
    noise = tagger.tag(tmp_path / "noise.wav")
    assert (noise.none_of_these, noise.novelty) == (True, 27 / 28)
    uris = prepared.dataset.clips["uri"]
    known = [tagger.tag(uri.removeprefix("file://")) for uri in uris]
    assert np.mean([each.none_of_these for each in known]) <= 0.05


def test_validation_clips_come_before_folds(prepared, extractor, head):
    for name in ("fold-1-first", "fold-1-last"):
        train_member(prepared, replace(extractor, name=name, split=name), head)
    both = [("h", "fold-1-first"), ("h", "fold-1-last")]
    groups = known_groups(prepared, both, both)
    assert sorted(group.members[0][1] for group in groups) == ["fold-1-first", "fold-1-last"]
    for group in groups:
        split = parts(prepared.dataset, group.members[0][1])
        assert group.known.tolist() == split.validation.tolist()
        assert not set(group.known) & set(group.trained)
        assert not set(group.known) & set(split.test)


def test_with_too_few_known_clips_a_line_says_so(prepared, extractor, head, caplog):
    train_member(prepared, extractor, head)
    with caplog.at_level(logging.WARNING):
        assert fit(prepared, [("h", "x")], [("h", "x")], 1.0) is None
    assert "there are 9 to set a limit by, and it takes at least 20" in caplog.text
