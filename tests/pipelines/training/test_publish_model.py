"""What ``evaluate`` publishes; an ensemble that is measured too is in test_reproduce."""

from dataclasses import replace

import pytest

from pipelines.training import evaluate
from pipelines.training.jobs import EvaluateJob, PublishJob
from tagger.errors import CommandError
from tagger.tagging import Tagger
from tests.support.small_data import train_member


def test_an_ensemble_trained_on_everything_is_published_without_figures(
    prepared, extractor, head, tmp_path
):
    train_member(prepared, replace(extractor, split="all"), head)
    publish = PublishJob(folder=str(tmp_path / "model"), name="m")
    job = EvaluateJob(work=prepared.store.root, name="e", members=(("h", "x"),), publish=publish)
    with pytest.raises(CommandError, match="leaves clips to test on"):
        evaluate.run(replace(job, publish=None), [])
    evaluate.run(job, [])
    about = Tagger.load(tmp_path / "model").card.about
    assert (about["metrics"], about["data"]["n_clips"]) == ({}, 27)
