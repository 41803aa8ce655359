"""Learning curves are read back by TensorBoard itself."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.cli.main import main
from pipelines.storage.store import open_store
from pipelines.training import tensorboard
from pipelines.training.tensorboard import write_curves


def network(losses):
    names = ("train_loss", "validation_loss", "validation_map_at_3")
    rows = [zip(names, (loss, None, None), strict=True) for loss in losses]
    return {"history": [{"epoch": i, **dict(row)} for i, row in enumerate(rows, 1)]}


def scalars(folder):
    found = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_curves_of_each_network(tmp_path):
    store = open_store(str(tmp_path))
    write_curves(store, {"heads/F/x": network([3.0]), "heads/F/y": network([9.0])})
    write_curves(store, {"heads/F/x": network([3.0, 2.5])})  # trained further
    top = tmp_path / "tensorboard" / "heads" / "F"
    assert scalars(top / "x") == {"loss/training": [(1, 3.0), (2, 2.5)]}
    assert scalars(top / "y") == {"loss/training": [(1, 9.0)]}


def test_a_missing_package_is_told_before_any_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    flags = ["--work", str(tmp_path), "--extractors", "x", "--name", "h", "--tensorboard"]
    assert main(["fit", *flags]) == 2
    assert "pip install 'archive-tagger[tensorboard]'" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
