"""Published VGGish weights made into ours, and the proof that they are the published ones.

Foreign files are PyTorch state dicts, read with ``torch.load(weights_only=True)`` and in no other
way. They spell the parameters differently: torchvggish and torch_audioset have ``features.*`` and
``embeddings.*``, torchaudio ``features_network.*`` and ``embedding_network.*``; torch_audioset adds
a classifier, and a dump of torchvggish's hub module AudioSet's PCA (``tagger.audioset_pca``).
"""

import pickle
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from tagger.configs import EmbeddingActivation, VGGishConfig
from tagger.errors import CommandError
from tagger.logmel import patches
from tagger.vggish import VGGish
from tagger.vggish_reference import (
    PUBLISHED,
    RECORDED_RATE_HZ,
    Reference,
    as_resampy_02,
    native_tone,
    recorded_tone,
)

EMBEDDING_TOLERANCE: Final = 0.05  # of the embedding's length; see ``verify``
MEAN_TOLERANCE: Final = 0.002  # absolute
STD_TOLERANCE: Final = 0.005  # absolute

_UNREADABLE: Final = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    TypeError,
    struct.error,
)
"""What ``torch.load`` raises, depending on where a file goes wrong."""

_SPELLINGS: Final = {"features_network.": "features.", "embedding_network.": "embeddings."}
_NOT_VGGISH: Final = ("pproc.", "classifier.")
_WIDTHS_FROM: Final = tuple(f"features.{i}.weight" for i in (0, 3, 6, 11))
_HIDDEN_FROM: Final = "embeddings.0.weight"


@dataclass(frozen=True)
class Verification:
    """What ``verify`` measured.

    Attributes
    ----------
    embedding_difference : from the published embedding, as a fraction of its length
    mean, std : of the embeddings before their activation, of a tone
    """

    embedding_difference: float
    mean: float
    std: float


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file that ``torch.save`` wrote.

    Raises
    ------
    CommandError : it cannot be read as one, or holds anything but tensors by name
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is odd about a file
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise CommandError(
            f"{path}: cannot be read as a PyTorch state dict ({_first_line(error)})"
        ) from error
    named = isinstance(state, Mapping) and all(isinstance(key, str) for key in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise CommandError(f"{path}: not a state dict: tensors by name are expected in it")
    return dict(state)


def convert(state: Mapping[str, Tensor], activation: EmbeddingActivation = "relu") -> VGGish:
    """Our VGGish with foreign weights, float32, in evaluation mode.

    Parameters
    ----------
    state : its widths become the network's; a classifier and PCA parameters are left out
    activation : after the embedding; the weights are the same either way (PAPER.md D6)

    Raises
    ------
    CommandError : parameters that are missing, unknown or of the wrong shape, by name
    """
    ours = _our_names(state)
    wanted = VGGish(VGGishConfig((1, 1, 1, 1), 1, activation)).state_dict()
    _refuse("lacks", [key for key in wanted if key not in ours])
    _refuse("holds what is no part of VGGish:", [key for key in ours if key not in wanted])
    one, two, three, four = (_width(ours[key]) for key in _WIDTHS_FROM)
    config = VGGishConfig((one, two, three, four), _width(ours[_HIDDEN_FROM]), activation)
    with torch.device("meta"):
        network = VGGish(config)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    wrong = [
        f"{key} {tuple(ours[key].shape)} instead of {shape}"
        for key, shape in shapes.items()
        if tuple(ours[key].shape) != shape
    ]
    _refuse("has parameters of the wrong shape:", wrong)
    weights = {key: value.to(torch.float32, copy=True) for key, value in ours.items()}
    network.load_state_dict(weights, assign=True)
    return network.eval()


def _our_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Foreign parameters under our names, without those that are no part of VGGish."""
    ours = {}
    for name, value in state.items():
        key = name.removeprefix("module.")
        for theirs, our in _SPELLINGS.items():
            if key.startswith(theirs):
                key = our + key.removeprefix(theirs)
        if not key.startswith(_NOT_VGGISH):
            ours[key] = value
    return ours


def _width(weight: Tensor) -> int:
    """Units of a layer; one where the shape, no layer's, is going to be told as wrong."""
    return max(1, int(weight.shape[0])) if weight.ndim else 1


def _refuse(what: str, which: list[str]) -> None:
    if which:
        more = f" and {len(which) - 3} more" if len(which) > 3 else ""
        raise CommandError(f"the file {what} {', '.join(which[:3])}{more}")


@torch.inference_mode()
def verify(extractor: VGGish, reference: Reference = PUBLISHED) -> Verification:
    """Compare an extractor with the published figures of VGGish (PAPER.md D31).

    The embedding of the first patch of a tone at 44.1 kHz, all 128 numbers, must agree with the
    published one to ``EMBEDDING_TOLERANCE``, the Euclidean distance as a fraction of its length.
    That one was made with resampy 0.2.1, whose side bands lift the quiet bands of the patch, so its
    resampling is repeated here. (Another resampler moved the embeddings of random networks by 3 to
    5 %; the tolerance leaves room for one.)

    Mean and standard deviation of the embeddings of a tone at 16 kHz, before the activation, must
    agree to ``MEAN_TOLERANCE`` and ``STD_TOLERANCE``. They need no resampler.

    Raises
    ------
    CommandError : widths other than the published ones, or another result
    """
    config = extractor.config
    if (config.conv_widths, config.hidden) != (reference.conv_widths, reference.hidden):
        raise CommandError(
            f"widths {config.conv_widths} and {config.hidden} are not those of the published "
            f"VGGish, {reference.conv_widths} and {reference.hidden}"
        )
    found = _measured(extractor, reference)
    agrees = (
        found.embedding_difference <= EMBEDDING_TOLERANCE
        and abs(found.mean - reference.mean) <= MEAN_TOLERANCE
        and abs(found.std - reference.std) <= STD_TOLERANCE
    )
    if not agrees:  # also when a figure is not a number
        raise CommandError(
            "these are not the published VGGish weights: the embedding of a test tone differs by "
            f"{found.embedding_difference:.1%} (allowed: {EMBEDDING_TOLERANCE:.0%}), mean and "
            f"standard deviation are {found.mean:.4f} and {found.std:.4f} instead of "
            f"{reference.mean} and {reference.std}"
        )
    return found


def _measured(extractor: VGGish, reference: Reference) -> Verification:
    with torch.device("meta"):
        before = VGGish(replace(extractor.config, embedding_activation="none"))
    before.load_state_dict(extractor.state_dict(), assign=True)
    one_second = as_resampy_02(recorded_tone()[:RECORDED_RATE_HZ]).astype(np.float32)
    embedding = before(torch.from_numpy(patches(one_second)))[0].relu().numpy()
    distance = np.linalg.norm(embedding - reference.embedding)
    values = before(torch.from_numpy(patches(native_tone()))).numpy()
    return Verification(
        float(distance / np.linalg.norm(reference.embedding)),
        float(values.mean()),
        float(values.std()),
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
