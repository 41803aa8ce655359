"""Learning curves as TensorBoard reads them, below ``tensorboard/`` of the work folder."""

import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pipelines.storage.store import Store
from tagger.errors import OptionError

FOLDER: Final = "tensorboard"
CURVES: Final = {
    "train_loss": "loss/training",
    "validation_loss": "loss/validation",
    "validation_map_at_3": "MAP@3/validation",
}
"""Names in TensorBoard of what is measured in an epoch."""


def require_tensorboard() -> None:
    """OptionError where the package that writes such files is not installed."""
    if find_spec("tensorboard") is None:
        problem = "needs a package: python -m pip install 'archive-tagger[tensorboard]'"
        raise OptionError("tensorboard", problem)


def write_curves(store: Store, networks: Mapping[str, Any]) -> None:
    """Write an event file for each network, in place of what was there.

    Parameters
    ----------
    networks : records of trained networks by their folders
    """
    from torch.utils.tensorboard import SummaryWriter  # the package is an extra

    for folder, record in networks.items():
        there = f"{FOLDER}/{folder}"
        store.remove(store.list(there))
        with tempfile.TemporaryDirectory() as here:
            with SummaryWriter(here) as writer:
                for epoch in record["history"]:
                    for name, title in CURVES.items():
                        if epoch[name] is not None:
                            writer.add_scalar(title, epoch[name], epoch["epoch"])
            for file in Path(here).iterdir():
                store.write(f"{there}/{file.name}", file.read_bytes())
