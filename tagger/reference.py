"""What a model was trained on, and how far a clip is from it, bag by bag in four *views*:

- what the extractors hear: the cosine distance of the bag's mean embedding from that of the nearest
  training bag (Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022),
  a mean over extractors;
- its *texture*: how much farther it lies from its nearest training bags than these from theirs, a
  local outlier factor (Breunig et al., "LOF: identifying density-based local outliers", SIGMOD
  2000; as simplified by Schubert, Zimek and Kriegel, "Local outlier detection reconsidered", Data
  Mining and Knowledge Discovery 2014). One rain is close to any other and no sneeze is close to
  another, so a distance alone says little. A network keeps of a sound what tells its own labels
  apart; what is strangest in another sound may be in what it drops;
- the *doubt* of the ensemble: what its largest score lacks to 1 (Hendrycks and Gimpel, "A baseline
  for detecting misclassified and out-of-distribution examples", ICLR 2017);
- *dissent*: what the labels that the ensemble says lack to 1 where a linear model tells labels by
  the texture. Of a sound that neither was trained on the two seldom think the same.

A clip's distance is the mean over its bags, as its scores are.

Conventions: embeddings of bags are (n_extractors, n_bags, 128) float32, their textures
(n_bags, 352) float32; distances (4,) float64 in the order above. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from tagger.arrays import BoolArray, DoubleArray, FloatArray
from tagger.heard import BAG, Heard

MOST_BAGS: Final = 4096  # training bags that a model keeps: 2 MB with two extractors
BAGS_PER_PASS: Final = 256  # that are compared at once: some 10 MB
N_AXES: Final = 16  # principal axes at most on which textures are compared
BAGS_PER_AXIS: Final = 8  # at least, that an axis is more than chance
N_NEIGHBOURS: Final = 10  # at most
BAGS_PER_NEIGHBOUR: Final = 20  # at least, that neighbours are mostly of one kind

_FLAT: Final = np.float32(1e-3)  # least deviation of a feature: a constant one divides by no zero
_SHORTEST: Final = np.float32(1e-12)  # vector that has a direction
_LEAST: Final = 1e-6  # variance of features that never vary
_CLOSEST: Final = np.float32(1e-3)  # spacing of bags, which have variance 1 on each axis


@dataclass(frozen=True, eq=False)
class Textures:
    """Textures of training bags: where they lie and how densely.

    Attributes
    ----------
    mean, scale : (352,) float32, by which features are standardised
    axes : (352, n_axes) float32, from standardised features to principal axes of variance 1
    points : (n_bags, n_axes) float32, the bags on these axes
    spacing : (n_bags,) float32, the mean distance of each from its neighbours
    n_neighbours : of each bag
    weights, level : (352, K) and (K,) float32, from standardised features to labels
    """

    mean: FloatArray
    scale: FloatArray
    axes: FloatArray
    points: FloatArray
    spacing: FloatArray
    n_neighbours: int
    weights: FloatArray
    level: FloatArray

    @classmethod
    def of(cls, textures: FloatArray, labels: FloatArray) -> Self:
        """From those of training bags, one at least, and the labels (n_bags, K) of each."""
        mean, scale = textures.mean(0), np.maximum(textures.std(0), _FLAT)
        standardised = ((textures - mean) / scale).astype(np.float64)
        covariance = standardised.T @ standardised / len(standardised)
        variances, directions = np.linalg.eigh(covariance)
        n_axes = min(N_AXES, max(1, len(textures) // BAGS_PER_AXIS))
        axes = kept((directions / np.sqrt(np.maximum(variances, _FLAT)))[:, -n_axes:])
        points = kept(standardised @ axes)
        n_neighbours = min(N_NEIGHBOURS, max(1, len(points) // BAGS_PER_NEIGHBOUR))
        spacing = _spacing(points, n_neighbours)
        level = labels.mean(0)
        joint = standardised.T @ (labels - level) / len(labels)
        weights = np.linalg.solve(_shrunk(covariance, standardised), joint)
        return cls(mean, scale, axes, points, spacing, n_neighbours, kept(weights), kept(level))

    def outlying(self, textures: FloatArray) -> FloatArray:
        """The local outlier factor (n,) of bags (n, 352): some 1 for one among the training."""
        apart = _euclidean(self._standardised(textures) @ self.axes, self.points)
        nearest = np.argpartition(apart, self.n_neighbours - 1, axis=1)[:, : self.n_neighbours]
        distance = np.take_along_axis(apart, nearest, axis=1).mean(1)
        factor: FloatArray = distance / self.spacing[nearest].mean(1)
        return factor

    def labels(self, textures: FloatArray) -> FloatArray:
        """Labels (n, K) of bags (n, 352), as a linear model tells them: some 1 and some 0."""
        found: FloatArray = self.level + self._standardised(textures) @ self.weights
        return found

    def _standardised(self, textures: FloatArray) -> FloatArray:
        standardised: FloatArray = (textures - self.mean) / self.scale
        return standardised


@dataclass(frozen=True, eq=False)
class Reference:
    """What a model was trained on.

    Attributes
    ----------
    embeddings : (n_extractors, n_bags, 128) float32, unit vectors
    textures : of the same bags
    """

    embeddings: FloatArray
    textures: Textures

    @classmethod
    def of(cls, clips: Sequence[Heard], labels: BoolArray) -> Self:
        """From training clips, one at least; of many only ``MOST_BAGS`` bags, evenly chosen.

        Parameters
        ----------
        labels : (n_clips, K), which labels each clip has
        """
        every = [clip.by_bag() for clip in clips]
        of_bags = np.repeat(labels, [len(textures) for _, textures in every], axis=0)
        n_bags = len(of_bags)
        chosen = np.unique(np.linspace(0, n_bags - 1, min(n_bags, MOST_BAGS)).round().astype(int))
        embeddings = np.concatenate([each for each, _ in every], axis=1)[:, chosen]
        textures = np.concatenate([each for _, each in every])[chosen]
        labels_of_chosen = of_bags[chosen].astype(np.float32)
        return cls(kept(_unit(embeddings)), Textures.of(textures, labels_of_chosen))

    def distances(self, clip: Heard, bag_scores: FloatArray) -> DoubleArray:
        """How far a clip is from what was trained on, in the four views: means over its bags.

        It is NaN in both views of a texture that is unknown.

        Parameters
        ----------
        bag_scores : (n, K) of the ensemble, one row at least; a bag that is compared here has the
            row at its place in the clip
        """
        n_bags = -(-len(clip.texture) // BAG)
        scores = bag_scores[np.arange(n_bags) * len(bag_scores) // n_bags]
        found = []
        for start in range(0, n_bags, BAGS_PER_PASS):
            bags = slice(start, start + BAGS_PER_PASS)
            part = clip.part(slice(bags.start * BAG, bags.stop * BAG))
            found.append(self._by_bag(part, scores[bags]))
        cosine, outlying, dissent = np.concatenate(found, axis=1).mean(1)
        doubt = 1 - bag_scores.max(1).mean()
        return np.maximum([cosine, outlying, doubt, dissent], 0.0, dtype=np.float64)

    def _by_bag(self, clip: Heard, scores: FloatArray) -> FloatArray:
        """The views of embeddings, of textures, and of both textures and scores: (3, n_bags)."""
        embeddings, textures = clip.by_bag()
        cosine = 1 - (_unit(embeddings) @ self.embeddings.transpose(0, 2, 1)).max(2).mean(0)
        if not textures.shape[1]:
            unknown = np.full_like(cosine, np.nan)
            return np.stack([cosine, unknown, unknown])
        told = (scores * self.textures.labels(textures)).sum(1)
        dissent = 1 - told / np.maximum(scores.sum(1), _SHORTEST)
        return np.stack([cosine, self.textures.outlying(textures), dissent])


def kept(values: FloatArray | DoubleArray) -> FloatArray:
    """As a file keeps them, so that a model gives the same numbers before and after."""
    return np.ascontiguousarray(values, np.float16).astype(np.float32)


def _shrunk(covariance: DoubleArray, centred: DoubleArray) -> DoubleArray:
    """The covariance (size, size) of centred rows (n, size), so that it can be inverted.

    It is drawn to a multiple of the identity as far as Ledoit and Wolf say ("A well-conditioned
    estimator for large-dimensional covariance matrices", Journal of Multivariate Analysis 2004).
    """
    n, size = centred.shape
    variance = np.trace(covariance) / size
    squares = np.sum(covariance**2)
    error = (np.sum(np.sum(centred**2, axis=1) ** 2) / n - squares) / n
    share = min(error / max(squares - size * variance**2, _LEAST), 1.0)
    shrunk: DoubleArray = (1 - share) * covariance + (share * variance + _LEAST) * np.eye(size)
    return shrunk


def _spacing(points: FloatArray, n_neighbours: int) -> FloatArray:
    """The mean distance (n,) of each point from its nearest others; 1 of one that is alone."""
    if len(points) == 1:
        return np.ones(1, np.float32)
    found = []
    for start in range(0, len(points), BAGS_PER_PASS):
        apart = _euclidean(points[start : start + BAGS_PER_PASS], points)
        rows = np.arange(len(apart))
        apart[rows, start + rows] = np.inf
        found.append(np.partition(apart, n_neighbours - 1, axis=1)[:, :n_neighbours].mean(1))
    spacing: FloatArray = np.maximum(np.concatenate(found), _CLOSEST)
    return spacing


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
