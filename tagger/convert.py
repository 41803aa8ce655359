"""Published VGGish weights made into ours, and the proof that they are the published ones.

Foreign files are PyTorch state dicts in the spellings of torchvggish, torch_audioset and
torchaudio (reference/system.md 3.5), read with ``torch.load(weights_only=True)`` and in no other
way. AudioSet's PCA (3.4) turns embeddings into the uint8 features of the AudioSet release; it was
fitted to the published embeddings and suits no fine-tuned ones.
"""

import hashlib
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors
from torch import Tensor

from tagger.arrays import FloatArray
from tagger.card import read_file, read_model
from tagger.configs import EmbeddingActivation, VGGishConfig
from tagger.errors import CommandError
from tagger.logmel import patches
from tagger.schema import EMBEDDING_SIZE
from tagger.vggish import VGGish
from tagger.vggish_reference import (
    LONG_TONE_RATE_HZ,
    PUBLISHED,
    Published,
    as_resampy_02,
    long_tone,
    short_tone,
)

PCA_FILE: Final = "pca.safetensors"
EMBEDDING_TOLERANCE: Final = 0.05  # of the embedding's length; see ``verify``
MEAN_TOLERANCE: Final = 0.002
STD_TOLERANCE: Final = 0.005

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

Uint8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PCA:
    """AudioSet's PCA: eigenvectors (128, 128) in rows and means (128,), float64."""

    eigen_vectors: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]


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
    """The state dict in a file of ``torch.save``.

    Raises
    ------
    CommandError : it is none, or holds anything but tensors by name
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
    state : its widths become the network's; a classifier and PCA parameters are passed over
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
def verify(extractor: VGGish, published: Published = PUBLISHED) -> Verification:
    """Compare an extractor with what is published of VGGish (reference/system.md 3.3).

    Two tests. The embedding of the first patch of a tone at 44.1 kHz, all 128 numbers, must agree
    to ``EMBEDDING_TOLERANCE`` (Euclidean) with TensorFlow's, which was made with resampy 0.2.1. Its
    resampling is repeated here, since its side bands lift the quiet bands of the patch: another
    resampler moved the embeddings of random networks by 3 to 5 %, so the tolerance leaves room for
    one. And mean and standard deviation of the embeddings, before their activation, of a tone at
    16 kHz, which needs no resampler: to ``MEAN_TOLERANCE`` and ``STD_TOLERANCE``.

    Raises
    ------
    CommandError : widths other than the published ones, or another result
    """
    config = extractor.config
    if (config.conv_widths, config.hidden) != (published.conv_widths, published.hidden):
        raise CommandError(
            f"widths {config.conv_widths} and {config.hidden} are not those of the published "
            f"VGGish, {published.conv_widths} and {published.hidden}"
        )
    found = _measured(extractor, published)
    agrees = (
        found.embedding_difference <= EMBEDDING_TOLERANCE
        and abs(found.mean - published.mean) <= MEAN_TOLERANCE
        and abs(found.std - published.std) <= STD_TOLERANCE
    )
    if not agrees:  # also when a figure is not a number
        raise CommandError(
            "these are not the published VGGish weights: the embedding of a test tone differs by "
            f"{found.embedding_difference:.1%} (allowed: {EMBEDDING_TOLERANCE:.0%}), mean and "
            f"standard deviation are {found.mean:.4f} and {found.std:.4f} instead of "
            f"{published.mean} and {published.std}"
        )
    return found


def _measured(extractor: VGGish, published: Published) -> Verification:
    with torch.device("meta"):
        before = VGGish(replace(extractor.config, embedding_activation="none"))
    before.load_state_dict(extractor.state_dict(), assign=True)
    one_second = as_resampy_02(long_tone()[:LONG_TONE_RATE_HZ]).astype(np.float32)
    embedding = before(torch.from_numpy(patches(one_second)))[0].relu().numpy()
    distance = np.linalg.norm(embedding - published.embedding)
    values = before(torch.from_numpy(patches(short_tone()))).numpy()
    return Verification(
        float(distance / np.linalg.norm(published.embedding)),
        float(values.mean()),
        float(values.std()),
    )


def pca_of_state(state: Mapping[str, Tensor]) -> PCA | None:
    """The PCA in a full dump of torchvggish's hub module, if there is one."""
    names = {key.removeprefix("module."): value for key, value in state.items()}
    found = [names.get(f"pproc.pca_{part}") for part in ("eigen_vectors", "means")]
    if any(value is None for value in found):
        return None
    vectors, means = (value.double().numpy() for value in found if value is not None)
    return _checked_pca(vectors, means)


def pca_of_npz(path: Path) -> PCA:
    """The PCA in AudioSet's ``vggish_pca_params.npz``; ``CommandError`` says what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors, means = arrays["pca_eigen_vectors"], arrays["pca_means"]
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise CommandError(
            f"{path}: not the npz of AudioSet's PCA parameters ({_first_line(error)})"
        ) from error
    return _checked_pca(vectors, means)


def _checked_pca(vectors: npt.NDArray[np.float64], means: npt.NDArray[np.float64]) -> PCA:
    square = (EMBEDDING_SIZE, EMBEDDING_SIZE)
    if vectors.shape != square or means.size != EMBEDDING_SIZE:
        raise CommandError(
            f"PCA parameters of shapes {vectors.shape} and {means.shape} instead of {square} and "
            f"({EMBEDDING_SIZE},)"
        )
    return PCA(vectors.astype(np.float64), means.astype(np.float64).reshape(-1))


def postprocess(embeddings: FloatArray, pca: PCA) -> Uint8Array:
    """AudioSet's features, (n, 128) uint8, of embeddings (n, 128) (reference/system.md 3.4).

    PCA, clipped to [-2, 2], mapped to [0, 255] and cut down to whole numbers. (torchvggish rounds,
    which differs from the AudioSet release in every third number.)
    """
    projected = (embeddings.astype(np.float64) - pca.means) @ pca.eigen_vectors.T
    return ((np.clip(projected, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)


def verify_pca(pca: PCA, published: Published = PUBLISHED) -> None:
    """``CommandError`` unless the published embedding gives the published uint8, to within 1."""
    found = postprocess(published.embedding[None], pca)[0].astype(int)
    n_wrong = int((np.abs(found - published.quantised.astype(int)) > 1).sum())
    if n_wrong:
        raise CommandError(
            f"these are not AudioSet's PCA parameters: {n_wrong} of {len(found)} numbers of the "
            "published embedding come out wrong"
        )


def write_pca(folder: Path, pca: PCA) -> dict[str, str]:
    """Store a PCA beside a model's weights; returns what its card's ``about["pca"]`` says of it."""
    data = save_safetensors({"eigen_vectors": pca.eigen_vectors, "means": pca.means})
    (folder / PCA_FILE).write_bytes(data)
    return {"file": PCA_FILE, "sha256": hashlib.sha256(data).hexdigest()}


def read_pca(url: str | Path) -> PCA:
    """The PCA stored with the model at a folder or URI; ``CommandError`` where there is none."""
    stored = read_model(url).card.about.get("pca")
    if not stored:
        raise CommandError(f"model {url}: holds no PCA; make one with: weights --pca")
    data = read_file(str(url).rstrip("/"), stored["file"])
    if hashlib.sha256(data).hexdigest() != stored["sha256"]:
        raise CommandError(f"model {url}: {stored['file']} is not the file that the card names")
    arrays = load_safetensors(data)
    return PCA(arrays["eigen_vectors"], arrays["means"])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
