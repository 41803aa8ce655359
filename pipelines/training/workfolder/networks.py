"""A trained network in the work folder: its weights, and a record of what it was trained as.

The record is written last: where it is, the network is finished.
"""

import hashlib
import json
from typing import Any, Final

from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from pipelines.storage.store import Store

RECORD: Final = "record.json"
WEIGHTS: Final = "network.safetensors"


def read_record(store: Store, folder: str) -> dict[str, Any] | None:
    """The record of a network; None where it is not finished."""
    try:
        record: dict[str, Any] = json.loads(store.read(f"{folder}/{RECORD}"))
    except FileNotFoundError:
        return None
    return record


def write_network(
    store: Store,
    folder: str,
    spec: dict[str, Any],
    weights: dict[str, Tensor],
    course: dict[str, Any],
) -> None:
    """Write the weights, then the record: ``spec``, the weights' sha256, and ``course``.

    Parameters
    ----------
    spec : everything that decides the result, as JSON
    course : how the training went, as JSON
    """
    data = save_safetensors({name: tensor.contiguous() for name, tensor in weights.items()})
    record = {"spec": spec, "weights": hashlib.sha256(data).hexdigest(), **course}
    store.write(f"{folder}/{WEIGHTS}", data)
    store.write(f"{folder}/{RECORD}", json.dumps(record, indent=2).encode())


def load_weights(store: Store, folder: str, network: nn.Module) -> nn.Module:
    """The network with its weights, in evaluation mode."""
    network.load_state_dict(load_safetensors(store.read(f"{folder}/{WEIGHTS}")))
    return network.eval()
