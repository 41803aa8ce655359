"""None of these: how unlike a clip is to all that a model was trained on.

A classifier names one of its labels whatever it hears. So a model keeps what its training clips
were like. A clip is compared with them bag by bag, in three *views*:

- what the extractors hear: the cosine distance of the bag's mean embedding from that of the nearest
  training bag (Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022),
  a mean over extractors;
- its *texture*, level, spread and unrest of each mel band: the Euclidean distance from the nearest
  training bag. A network keeps of a sound what tells its own labels apart; what is strangest in
  another sound may be in what it drops;
- the *doubt* of the ensemble: what its largest score lacks to 1 (Hendrycks and Gimpel, "A baseline
  for detecting misclassified and out-of-distribution examples", ICLR 2017).

A clip's distance is the mean over its bags, as its scores are. The logarithms of its distances are
standardised by those of *known* clips, which have the model's labels but were not trained on; their
mean over the views is its strangeness. Its novelty is the share of known clips that are less
strange. Where the texture of a clip is unknown, both are of the other views alone.

Conventions: embeddings of a clip are (n_extractors, n_segments, 128) float32; textures
(n_segments, 192) float32; distances (3,) float64 in the order above. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tagger.arrays import DoubleArray, FloatArray, IndexArray
from tagger.errors import CommandError
from tagger.logmel import N_BANDS
from tagger.schema import EMBEDDING_SIZE
from tagger.segments import bags

LIMIT: Final = 0.95  # at which one known clip in twenty is taken for a stranger
LEAST_KNOWN: Final = 20  # known clips, that the limit lies among them
MOST_BAGS: Final = 4096  # training bags that a model keeps: 4 MB with two extractors
BAGS_PER_PASS: Final = 256  # that are compared at once: some 10 MB
BAG: Final = 6  # segments that are compared as one; as in the paper's attention
TEXTURE_SIZE: Final = 3 * N_BANDS
N_VIEWS: Final = 3

NEAR: Final = 0.01  # below which distances do not differ
_FLAT: Final = np.float32(1e-3)  # least deviation of a feature: a constant one divides by no zero
_SHORTEST: Final = np.float32(1e-12)  # vector that has a direction


class Heard(NamedTuple):
    """What of a clip is compared with what a model was trained on.

    Attributes
    ----------
    embeddings : (n_extractors, n_segments, 128)
    texture : (n_segments, 192), or (n_segments, 0) where it is unknown or of no use
    """

    embeddings: FloatArray
    texture: FloatArray

    def part(self, segments: slice | IndexArray) -> "Heard":
        """The same of some segments."""
        return Heard(self.embeddings[:, segments], self.texture[segments])


def joined(parts: Sequence[Heard]) -> Heard:
    """The parts of a clip, in order, as one."""
    embeddings = np.concatenate([part.embeddings for part in parts], axis=1)
    return Heard(embeddings, np.concatenate([part.texture for part in parts]))


def texture(patches: FloatArray) -> FloatArray:
    """Of each patch (n, 96, 64) of any floating type, (n, 192) float32 by mel band.

    Mean, standard deviation, and mean step from frame to frame, each over the patch.
    """
    values = patches.astype(np.float32, copy=False)
    unrest = np.abs(np.diff(values, axis=1)).mean(1)
    found: FloatArray = np.concatenate([values.mean(1), values.std(1), unrest], axis=1)
    return found


@dataclass(frozen=True, eq=False)
class Reference:
    """What a model was trained on.

    Attributes
    ----------
    embeddings : (n_extractors, n_bags, 128) float32, unit vectors
    textures : (n_bags, 192) float32, standardised
    mean, scale : (192,) float32, of the textures before that
    """

    embeddings: FloatArray
    textures: FloatArray
    mean: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, clips: Sequence[Heard]) -> Self:
        """From training clips, one at least; of many only ``MOST_BAGS`` bags, evenly chosen."""
        every = [_bag_means(clip) for clip in clips]
        n_bags = sum(len(textures) for _, textures in every)
        kept = np.unique(np.linspace(0, n_bags - 1, min(n_bags, MOST_BAGS)).round().astype(int))
        embeddings = np.concatenate([each for each, _ in every], axis=1)[:, kept]
        textures = np.concatenate([each for _, each in every])[kept]
        mean, scale = textures.mean(0), np.maximum(textures.std(0), _FLAT)
        return cls(_kept(_unit(embeddings)), _kept((textures - mean) / scale), mean, scale)

    def distances(self, clip: Heard, bag_scores: FloatArray) -> DoubleArray:
        """How far a clip is from what was trained on, in the three views: means over its bags.

        It is NaN in the view of a texture that is unknown.

        Parameters
        ----------
        bag_scores : (n, K) of the ensemble, one row at least
        """
        embeddings, textures = _bag_means(clip)
        starts = range(BAGS_PER_PASS, len(textures), BAGS_PER_PASS)
        parts = zip(np.split(embeddings, starts, axis=1), np.split(textures, starts), strict=True)
        cosine, apart = np.concatenate([self._nearest(*part) for part in parts], axis=1).mean(1)
        return np.maximum([cosine, apart, 1 - bag_scores.max(1).mean()], 0.0, dtype=np.float64)

    def _nearest(self, embeddings: FloatArray, textures: FloatArray) -> FloatArray:
        """Cosine and Euclidean distance (2, n) of bags from the nearest of the training."""
        cosine = 1 - (_unit(embeddings) @ self.embeddings.transpose(0, 2, 1)).max(2).mean(0)
        if not textures.shape[1]:
            return np.stack([cosine, np.full_like(cosine, np.nan)])
        apart = _euclidean((textures - self.mean) / self.scale, self.textures)
        return np.stack([cosine, apart.min(1)])


@dataclass(frozen=True, eq=False)
class Novelty:
    """What a model needs to tell strange clips from known ones.

    Attributes
    ----------
    reference : what it was trained on
    mean, scale : (3,) float64, of the logarithms of known clips' distances
    known : (n_known, 3) float64, those logarithms, standardised
    """

    reference: Reference
    mean: DoubleArray
    scale: DoubleArray
    known: DoubleArray

    @classmethod
    def fit(cls, reference: Reference, distances: DoubleArray) -> Self:
        """From the distances (n_known, 3) of clips that were not trained on.

        They are those to ``reference``, or to references of networks that were trained alike on
        other clips: cross-validation measures known clips where none is left out in the end.
        """
        found = np.log(distances + NEAR)
        mean, scale = found.mean(0), np.maximum(found.std(0), _FLAT)
        return cls(reference, mean, scale, (found - mean) / scale)

    def of(self, clip: Heard, bag_scores: FloatArray) -> float:
        """The novelty of a clip, in [0, 1]: the share of known clips that are less strange.

        Parameters
        ----------
        bag_scores : as of ``Reference.distances``
        """
        found = np.log(self.reference.distances(clip, bag_scores) + NEAR)
        standardised = (found - self.mean) / self.scale
        views = np.isfinite(standardised)
        return float(np.mean(self.known[:, views].mean(1) < standardised[views].mean()))

    def to_bytes(self) -> bytes:
        """As a safetensors file; what is compared is kept in float16."""
        reference = self.reference
        return save(
            {
                "embeddings": reference.embeddings.astype(np.float16),
                "textures": reference.textures.astype(np.float16),
                "texture_mean": reference.mean,
                "texture_scale": reference.scale,
                "mean": self.mean,
                "scale": self.scale,
                "known": self.known,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, n_extractors: int) -> Self:
        """Read what ``to_bytes`` gave.

        Raises
        ------
        CommandError : it is none of a model with so many extractors
        """
        try:
            found = load(data)
            _check(found, n_extractors)
        except (SafetensorError, KeyError, ValueError) as error:
            raise CommandError(f"what it says of novelty is of no use ({error})") from error
        reference = Reference(
            found["embeddings"].astype(np.float32),
            found["textures"].astype(np.float32),
            found["texture_mean"],
            found["texture_scale"],
        )
        return cls(reference, found["mean"], found["scale"], found["known"])


def _check(found: dict[str, FloatArray], n_extractors: int) -> None:
    """ValueError where arrays do not fit each other or are not finite."""
    n_bags, n_known = len(found["textures"]), len(found["known"])
    shapes = {
        "embeddings": (n_extractors, n_bags, EMBEDDING_SIZE),
        "textures": (n_bags, TEXTURE_SIZE),
        "texture_mean": (TEXTURE_SIZE,),
        "texture_scale": (TEXTURE_SIZE,),
        "mean": (N_VIEWS,),
        "scale": (N_VIEWS,),
        "known": (n_known, N_VIEWS),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape or not found[name].size:
            raise ValueError(f"{name} has the shape {found[name].shape}, not {shape}")
        if not np.isfinite(found[name]).all():
            raise ValueError(f"{name} holds numbers that are not finite")


def _bag_means(clip: Heard) -> tuple[FloatArray, FloatArray]:
    """Mean embedding and texture of each bag: (n_extractors, n_bags, 128), (n_bags, 192)."""
    index: IndexArray = bags(len(clip.texture), BAG)
    return clip.embeddings[:, index].mean(2), clip.texture[index].mean(1)


def _kept(values: FloatArray) -> FloatArray:
    """As the file keeps them, so that a model gives the same numbers before and after."""
    return np.ascontiguousarray(values, np.float16).astype(np.float32)


def _unit(vectors: FloatArray) -> FloatArray:
    """Of length 1; zeros, which point nowhere, stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(length, _SHORTEST)
    return unit


def _euclidean(some: FloatArray, others: FloatArray) -> FloatArray:
    """Distances (n, m) between (n, size) and (m, size)."""
    squares = (some**2).sum(1)[:, None] + (others**2).sum(1) - 2 * some @ others.T
    distances: FloatArray = np.sqrt(np.maximum(squares, 0))
    return distances
