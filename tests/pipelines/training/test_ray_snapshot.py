"""What a stranger may have put into a work folder on a shared bucket: nothing of it runs."""

import ast
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.storage.store import Store, open_store
from pipelines.training.ray_train import SNAPSHOT, check_snapshot
from pipelines.training.train_worker import read_states, write_states
from tagger.errors import CommandError


class Command:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_a_checkpoint_that_runs_something_is_refused(tmp_path: Path) -> None:
    folder, made = tmp_path / "checkpoint", tmp_path / "made"
    folder.mkdir()
    torch.save({"weights": Command(str(made))}, folder / "a.pt")
    with pytest.raises(CommandError, match=r"_train .* remove"):
        read_states(folder)
    assert not made.exists()


@pytest.mark.parametrize("data", [b"", b"nonsense", None])
def test_a_damaged_checkpoint_is_told_of(tmp_path: Path, data: bytes | None) -> None:
    write_states({"a.pt": {"weights": torch.ones(1000)}}, tmp_path)
    path = tmp_path / "a.pt"
    path.write_bytes(path.read_bytes()[:-100] if data is None else data)
    with pytest.raises(CommandError, match=r"_train .* remove"):
        read_states(tmp_path)


def snapshot(store: Store, *names: Any) -> None:
    results = [{"checkpoint_dir_name": name, "metrics": {}} for name in names]
    found = {"latest_checkpoint_result": results[-1], "checkpoint_results": results}
    store.write(f"_train/run/{SNAPSHOT}", json.dumps(found).encode())


@pytest.mark.parametrize(
    "name", ["../../other", "/etc", "checkpoint_1/../../x", "checkpoint_1/..", "..", "", 5, None]
)
def test_a_snapshot_that_leads_elsewhere_is_refused(tmp_path: Path, name: Any) -> None:
    store = open_store(str(tmp_path))
    snapshot(store, "checkpoint_2026-11-26_10-38-22.926770", name)
    with pytest.raises(CommandError, match="remove the folder _train/run"):
        check_snapshot(store, "run")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"\x80\x04."])
def test_a_snapshot_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    store = open_store(str(tmp_path))
    store.write(f"_train/run/{SNAPSHOT}", data)
    with pytest.raises(CommandError, match="remove the folder _train/run"):
        check_snapshot(store, "run")


def test_one_of_rays_own_is_accepted(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    check_snapshot(store, "run")  # there is none yet
    snapshot(store, "checkpoint_2026-11-26_10-38-22.926770")
    check_snapshot(store, "run")


def test_ray_train_itself_unpickles_no_file_of_a_run() -> None:
    """Of the modules that restore a run; ``pickle`` of messages between processes aside."""
    package = find_spec("ray.train.v2._internal.execution")
    assert package is not None
    assert package.submodule_search_locations is not None
    (folder,) = package.submodule_search_locations
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("load", "loads", "Unpickler")
        and isinstance(node.value, ast.Name)
        and node.value.id != "json"
    ]
    assert found == []
