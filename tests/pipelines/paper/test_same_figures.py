"""The paper's own setting trains as it always did: losses that an earlier version came to."""

from dataclasses import replace

import pytest

from pipelines.paper.settings import SETTINGS, Start
from pipelines.storage.store import Store, open_store
from pipelines.training.finetune import ExtractorTask
from pipelines.training.fit import HeadTask
from pipelines.training.train_worker import Task
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.networks import read_record
from tagger.configs import VGGishConfig
from tests.support.small_data import embed_here, prepare_here, train_here, write_folds

SMALL = VGGishConfig((2, 2, 4, 4), 8)
LOSSES = {
    "balanced-first": [1.1509006818135579, 1.1255711237589519],
    "unbalanced-last": [1.2229910532633463, 1.1983512878417968],
    "A": [1.45186767578125, 1.3306444803873698],
    "B": [1.1090342203776042, 1.1019100613064237],
    "F": [1.494076622856988, 1.3844000498453777],
}
"""Training loss of each epoch, before training by steps was built."""


def losses(store: Store, task: Task) -> list[float]:
    """The training loss of each epoch of a finished network."""
    record = read_record(store, task.folder)
    assert record is not None
    return [epoch["train_loss"] for epoch in record["history"]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Networks of the paper's setting, of fewer units and two epochs."""
    top = tmp_path_factory.mktemp("data")
    data = write_folds(top, n_folds=3)
    paper = replace(SETTINGS["paper"], vggish=SMALL, hidden=8)
    prepared = prepare_here(replace(paper.prepare(str(data), str(top / "work"), 3), copies=1))
    store = open_store(str(top / "work"))
    found = {}
    specs = paper.extractors(list(LOSSES)[:2], prepared.dataset, Start(vggish=SMALL), 3)
    for name, (spec, *_) in specs.items():
        task = ExtractorTask(replace(spec, training=replace(spec.training, epochs=2)))
        train_here([task], store)
        found[name] = losses(store, task)
    (upon, *_), _ = specs.values()
    embed_here(prepared, upon.name, copies=1)
    weights = extractors.weights_id(store, upon.name)
    for head in paper.heads(list(LOSSES)[2:], 3):
        training = replace(head.training, epochs=2)
        task = HeadTask(
            replace(head, training=training, copies=min(head.copies, 1)),
            upon.name,
            upon.split,
            weights,
        )
        train_here([task], store)
        found[head.name] = losses(store, task)
    return found


@pytest.mark.parametrize("name", LOSSES)
def test_the_paper_s_setting_gives_the_figures_it_gave(trained, name):
    assert trained[name] == pytest.approx(LOSSES[name], rel=1e-6)
