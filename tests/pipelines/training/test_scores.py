"""What members of an ensemble make of their test clips."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.training.scores import member_scores, score
from pipelines.training.specs import CLASSIFIER
from pipelines.training.splits import parts
from pipelines.training.workfolder import heads
from pipelines.training.workfolder.embeddings import load_embeddings
from pipelines.training.workfolder.patches import Prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.prediction import predict
from tests.support.small_data import CountingStore, train_member


@pytest.fixture
def trained(prepared, extractor, head) -> Prepared:
    """Members h:x and h:y test fold 1, h:z fold 2."""
    for name, split in (("x", "fold-1-first"), ("y", "fold-1-last"), ("z", "fold-2-first")):
        train_member(prepared, replace(extractor, name=name, split=split), head)
    return prepared


def test_a_clip_s_score_is_the_mean_over_its_bags(trained):
    """Against a loop over clips, each read and scored by itself."""
    test = parts(trained.dataset, "fold-1").test
    found = member_scores(SharedReads(trained, test, copies=0), ("h", "x"), test)
    spec, network = heads.load(trained.store, "h", "x", 3, "one")
    for clip, scores in zip(test, found, strict=True):
        loaded = load_embeddings(trained, "x", np.array([clip]), copies=0)
        bags = heads.examples(spec, loaded.takes)
        probabilities, _ = predict(network, bags, np.arange(len(bags)))
        np.testing.assert_allclose(scores, probabilities.mean(0), atol=1e-6)


def test_members_of_the_same_test_clips_form_an_ensemble_and_read_once(trained):
    """In whatever order they are named; the heads' and the classifiers' alike."""
    store = CountingStore(trained.store.root)
    members = (("h", "y"), ("h", "z"), (CLASSIFIER, "x"), ("h", "x"), (CLASSIFIER, "y"))
    one, two = score(replace(trained, store=store), members)
    assert one.names == (("h", "y"), (CLASSIFIER, "x"), ("h", "x"), (CLASSIFIER, "y"))
    assert two.names == (("h", "z"),)
    assert one.clips.tolist() == parts(trained.dataset, "fold-1").test.tolist()
    assert two.clips.tolist() == parts(trained.dataset, "fold-2").test.tolist()
    assert one.members.shape == (4, 9, 3)
    np.testing.assert_allclose(one.ensemble.sum(1), 1, atol=1e-5)
    tables = [n for path, n in store.n_reads.items() if path.startswith(("patches", "embeddings"))]
    assert tables == [1] * (1 + 3)
    reads = SharedReads(trained, one.clips, copies=0)
    for member, scores in zip(one.names, one.members, strict=True):
        np.testing.assert_array_equal(scores, member_scores(reads, member, one.clips))


def test_a_clip_that_could_not_be_prepared_scores_nothing(trained):
    test = parts(trained.dataset, "fold-1").test
    without = SharedReads(trained, test[1:], copies=0)  # as if its first clip had failed
    scores = member_scores(without, ("h", "x"), test)
    assert not scores[0].any()
    np.testing.assert_allclose(scores[1:].sum(1), 1, atol=1e-5)
