"""The bundled model's recipe, carried out: from recordings to a published model."""

from dataclasses import replace

from pipelines.paper import bundled_model
from pipelines.paper.bundled_recipe import (
    EXTRACTOR_TRAINING,
    HEAD_TRAINING,
    TAUGHT_TRAINING,
    BundledRecipe,
)
from pipelines.paper.jobs import BundleJob
from pipelines.training.finetune import ExtractorTask
from pipelines.training.fit import HeadTask
from pipelines.training.workfolder import extractors
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.tagging import Tagger
from tests.support.small_data import embed_here, prepare_here, train_here, write_folds


def test_it_publishes_what_it_trained_on_everything(tmp_path):
    """Everything is trained beforehand, here, so that it finds it and starts no Ray."""
    data = write_folds(tmp_path, n_folds=2)
    recipe = BundledRecipe(
        folds=(1, 2),
        seeds=(0,),
        copies=1,
        head_copies=1,
        vggish=VGGishConfig((2, 2, 4, 4), 8),
        extractor=replace(EXTRACTOR_TRAINING, epochs=1),
        taught=replace(TAUGHT_TRAINING, epochs=1),
        network=AttentionConfig(2, hidden=8),
        head=replace(HEAD_TRAINING, epochs=1),
    )
    job = BundleJob(data=str(data), work=str(tmp_path / "work"), publish=str(tmp_path / "model"))
    prepared = prepare_here(recipe.prepare(job.data, job.work))
    store, specs, (head,) = prepared.store, recipe.extractors(), recipe.heads()
    train_here([ExtractorTask(spec) for spec in recipe.teachers()], store)
    train_here([ExtractorTask.of(spec, store) for spec in specs], store)
    for spec in specs:
        embed_here(prepared, spec.name, recipe.head_copies)
    train_here(
        [
            HeadTask(head, spec.name, spec.split, extractors.weights_id(store, spec.name))
            for spec in specs
        ],
        store,
    )
    record = bundled_model.run(job, ["bundle"], recipe)
    assert record.metrics["all"]["n_clips"] == 18  # each clip by the networks of the other fold
    assert set(record.metrics["tests"]) == {"fold-1", "fold-2"}
    tagger = Tagger.load(tmp_path / "model")
    assert [member.extractor for member in tagger.card.members] == ["all-taught-s0"]
    assert tagger.card.about["data"]["n_clips"] == 18
    assert "fixed beforehand" in tagger.card.about["notes"]["validation"]
