"""AudioSet's PCA, which turns VGGish embeddings into the uint8 features of the AudioSet release.

It was fitted to the published embeddings, with ReLU, and suits no fine-tuned ones. So the tagger
makes no use of it; it is kept beside converted weights for whoever compares with AudioSet.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from safetensors.numpy import save as save_safetensors

from tagger.arrays import ByteArray, DoubleArray, FloatArray
from tagger.errors import CommandError
from tagger.schema import EMBEDDING_SIZE
from tagger.vggish_reference import PUBLISHED, Reference

if TYPE_CHECKING:
    from torch import Tensor

FILE: Final = "pca.safetensors"


@dataclass(frozen=True)
class PCA:
    """Eigenvectors (128, 128) in rows and means (128,), float64."""

    eigen_vectors: DoubleArray
    means: DoubleArray


def of_state(state: "Mapping[str, Tensor]") -> PCA | None:
    """The PCA in a full dump of torchvggish's hub module, None in any other state dict.

    Raises
    ------
    CommandError : parameters of the wrong shapes
    """
    names = {key.removeprefix("module."): value for key, value in state.items()}
    found = [names.get(f"pproc.pca_{part}") for part in ("eigen_vectors", "means")]
    if any(value is None for value in found):
        return None
    vectors, means = (value.double().numpy() for value in found if value is not None)
    return _checked(vectors, means)


def of_npz(path: Path) -> PCA:
    """The PCA in AudioSet's ``vggish_pca_params.npz``.

    Raises
    ------
    CommandError : not that file, or parameters of the wrong shapes
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            vectors, means = arrays["pca_eigen_vectors"], arrays["pca_means"]
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        detail = " ".join(str(error).split())[:120]
        raise CommandError(
            f"{path}: not the npz of AudioSet's PCA parameters ({type(error).__name__}: {detail})"
        ) from error
    return _checked(vectors, means)


def _checked(vectors: DoubleArray, means: DoubleArray) -> PCA:
    """The PCA of parameters in the shapes of AudioSet or of torchvggish."""
    square = (EMBEDDING_SIZE, EMBEDDING_SIZE)
    if vectors.shape != square or means.size != EMBEDDING_SIZE:
        raise CommandError(
            f"PCA parameters of shapes {vectors.shape} and {means.shape} instead of {square} and "
            f"({EMBEDDING_SIZE},)"
        )
    return PCA(vectors.astype(np.float64), means.astype(np.float64).reshape(-1))


def postprocess(embeddings: FloatArray, pca: PCA) -> ByteArray:
    """AudioSet's features, (n, 128) uint8, of published embeddings (n, 128) with ReLU.

    PCA, clipped to [-2, 2], mapped to [0, 255] and cut down to whole numbers, as the AudioSet
    release was made: so all 128 numbers of the published embedding come out as published.
    torchvggish rounds instead, which gives 42 of them another value (PAPER.md D32).
    """
    projected = (embeddings.astype(np.float64) - pca.means) @ pca.eigen_vectors.T
    return ((np.clip(projected, -2.0, 2.0) + 2.0) * (255.0 / 4.0)).astype(np.uint8)


def verify(pca: PCA, reference: Reference = PUBLISHED) -> None:
    """Check that the published embedding gives the published uint8, to within 1.

    Raises
    ------
    CommandError : it does not
    """
    found = postprocess(reference.embedding[None], pca)[0].astype(int)
    n_wrong = int((np.abs(found - reference.quantised.astype(int)) > 1).sum())
    if n_wrong:
        raise CommandError(
            f"these are not AudioSet's PCA parameters: {n_wrong} of {len(found)} numbers of the "
            "published embedding come out wrong"
        )


def write(folder: Path, pca: PCA) -> dict[str, str]:
    """Store a PCA beside a model's weights.

    Returns
    -------
    file, sha256 : for the card's ``about["pca"]``
    """
    data = save_safetensors({"eigen_vectors": pca.eigen_vectors, "means": pca.means})
    (folder / FILE).write_bytes(data)
    return {"file": FILE, "sha256": hashlib.sha256(data).hexdigest()}
