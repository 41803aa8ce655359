"""None of these: how unlike a clip is to all that a model was trained on.

A classifier names one of its labels whatever it hears. So a model keeps what its training clips
were like, and compares a clip with them in four views (``tagger.reference``): by embeddings, by
texture, by the doubt of its ensemble, and by the dissent between that and the texture. It also
keeps how far from them are *known* clips, which have the model's labels but were not trained on.
The logarithms of distances are standardised over the known clips and the clip itself; their mean
over the views is its strangeness. Its novelty is the share of these clips that are less strange: 1
minus the p-value of a conformal test (Vovk, Gammerman and Shafer, "Algorithmic learning in a random
world", 2005). So of clips that are like the known ones at most one in twenty is beyond 0.95, in the
mean, however few are known; about so many where other networks measured the known ones (``fit``).
Where the texture of a clip is unknown, all is of embeddings and doubt alone. Needs no torch.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tagger.arrays import DoubleArray, FloatArray
from tagger.errors import CommandError
from tagger.heard import BAG_TEXTURE_SIZE, Heard
from tagger.logmel import N_BANDS
from tagger.reference import Reference, Textures
from tagger.schema import EMBEDDING_SIZE

LIMIT: Final = 0.95  # at which one known clip in twenty is taken for a stranger
LEAST_KNOWN: Final = 20  # known clips, that the limit lies among them
N_VIEWS: Final = 4
NEAR: Final = 0.01  # below which distances do not differ

_FLAT: Final = 1e-3  # least deviation of logarithms of distances
_FIRST_SIZE: Final = 3 * N_BANDS  # of textures in files of the first kind


@dataclass(frozen=True, eq=False)
class Novelty:
    """What a model needs to tell strange clips from known ones.

    Attributes
    ----------
    reference : what it was trained on
    known : (n_known, 4) float64, logarithms of the distances of known clips
    counts_itself : whether a clip is among those that it is compared with; not in files of the
        first kind
    """

    reference: Reference
    known: DoubleArray
    counts_itself: bool = True

    @classmethod
    def fit(cls, reference: Reference, distances: DoubleArray) -> Self:
        """From the distances (n_known, 4) of clips that were not trained on.

        They are those to ``reference``, or to references of networks that were trained alike on
        other clips: cross-validation measures known clips where none is left out in the end.
        """
        return cls(reference, np.log(distances + NEAR))

    def of(self, clip: Heard, bag_scores: FloatArray) -> float:
        """The novelty of a clip, in [0, 1]; 1 only where it is not counted itself.

        Parameters
        ----------
        bag_scores : as of ``Reference.distances``
        """
        return self.of_distances(self.reference.distances(clip, bag_scores))

    def of_distances(self, distances: DoubleArray) -> float:
        """The novelty of a clip that is so far (4,) from what was trained on."""
        every = np.vstack([self.known, np.log(distances + NEAR)])
        among = every if self.counts_itself else self.known
        standardised = (every - among.mean(0)) / np.maximum(among.std(0), _FLAT)
        strangeness = standardised[:, np.isfinite(standardised[-1])].mean(1)
        return float(np.sum(strangeness < strangeness[-1]) / len(among))

    def to_bytes(self) -> bytes:
        """As a safetensors file; what is compared is kept in float16."""
        reference, textures = self.reference, self.reference.textures
        return save(
            {
                "embeddings": reference.embeddings.astype(np.float16),
                "textures": textures.points.astype(np.float16),
                "texture_mean": textures.mean,
                "texture_scale": textures.scale,
                "axes": textures.axes.astype(np.float16),
                "spacing": textures.spacing,
                "n_neighbours": np.array([textures.n_neighbours]),
                "weights": textures.weights.astype(np.float16),
                "level": textures.level.astype(np.float16),
                "known": self.known,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, n_extractors: int) -> Self:
        """Read what ``to_bytes`` gave, or gave before textures had axes.

        Raises
        ------
        CommandError : it is none of a model with so many extractors
        """
        try:
            found: dict[str, Any] = load(data)
            if is_first := "axes" not in found:
                found = _completed(found)
            _check(found, n_extractors)
        except (SafetensorError, LookupError, TypeError, ValueError) as error:
            raise CommandError(f"what it says of novelty is of no use ({error})") from error
        textures = Textures(
            found["texture_mean"],
            found["texture_scale"],
            found["axes"].astype(np.float32),
            found["textures"].astype(np.float32),
            found["spacing"],
            int(found["n_neighbours"][0]),
            found["weights"].astype(np.float32),
            found["level"].astype(np.float32),
        )
        reference = Reference(found["embeddings"].astype(np.float32), textures)
        return cls(reference, found["known"], not is_first)


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """A file of the first kind: the distance from one neighbour, by the first 192 features.

    It knows no dissent, which is the same for all clips therefore.
    """
    rest = BAG_TEXTURE_SIZE - _FIRST_SIZE
    known = found["known"] * found["scale"] + found["mean"]
    return found | {
        "texture_mean": np.pad(found["texture_mean"], (0, rest)),
        "texture_scale": np.pad(found["texture_scale"], (0, rest), constant_values=1),
        "axes": np.eye(BAG_TEXTURE_SIZE, _FIRST_SIZE, dtype=np.float32),
        "spacing": np.ones(len(found["textures"]), np.float32),
        "n_neighbours": np.array([1]),
        "weights": np.zeros((BAG_TEXTURE_SIZE, 1), np.float32),
        "level": np.zeros(1, np.float32),
        "known": np.pad(known, ((0, 0), (0, 1)), constant_values=np.log(1 + NEAR)),
    }


def _check(found: dict[str, Any], n_extractors: int) -> None:
    """ValueError where arrays do not fit each other or are not finite."""
    n_bags, n_known = len(found["textures"]), len(found["known"])
    n_axes, n_labels = found["axes"].shape[-1], len(found["level"])
    shapes = {
        "embeddings": (n_extractors, n_bags, EMBEDDING_SIZE),
        "textures": (n_bags, n_axes),
        "texture_mean": (BAG_TEXTURE_SIZE,),
        "texture_scale": (BAG_TEXTURE_SIZE,),
        "axes": (BAG_TEXTURE_SIZE, n_axes),
        "spacing": (n_bags,),
        "n_neighbours": (1,),
        "weights": (BAG_TEXTURE_SIZE, n_labels),
        "level": (n_labels,),
        "known": (n_known, N_VIEWS),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape or not found[name].size:
            raise ValueError(f"{name} has the shape {found[name].shape}, not {shape}")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    if min(found["spacing"].min(), found["texture_scale"].min()) <= 0:
        raise ValueError("distances are divided by numbers that are not above 0")
    if not 1 <= found["n_neighbours"][0] <= n_bags:
        raise ValueError(f"it has {n_bags} bags and compares {found['n_neighbours'][0]}")
