"""Distances from what a model was trained on, against scikit-learn."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tagger.heard import BAG_TEXTURE_SIZE, TEXTURE_SIZE, Heard, joined
from tagger.reference import MOST_BAGS, Reference, Textures
from tests.support.heard import N_EXTRACTORS, a_clip, a_sound, plain_bags, some_labels

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def trained() -> list[Heard]:
    return [a_clip(RNG, n, centre) for n in (1, 5, 6, 7, 14, 5) * 7 for centre in (0, 0.2, 0.5, 1)]


@pytest.fixture(scope="module")
def labels(trained) -> np.ndarray:
    return some_labels(len(trained), RNG)


@pytest.fixture(scope="module")
def reference(trained, labels) -> Reference:
    return Reference.of(trained, labels)


def plain_outlying(textures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How much farther textures are from ten neighbours than these from theirs, on 16 axes."""
    mean, scale = textures.mean(0), textures.std(0)
    pca = PCA(16, whiten=True, svd_solver="full").fit((textures - mean) / scale)
    to_variance = np.sqrt(len(textures) / (len(textures) - 1))  # scikit-learn divides by n - 1
    points = pca.transform((textures - mean) / scale) * to_variance
    near = NearestNeighbors(n_neighbors=10).fit(points)
    spacing = near.kneighbors()[0].mean(1)
    distances, which = near.kneighbors(pca.transform((others - mean) / scale) * to_variance)
    return distances.mean(1) / spacing[which].mean(1)


def plain_labels(textures: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The linear least squares estimate, by the covariance of Ledoit and Wolf."""
    mean, scale = textures.mean(0), textures.std(0)
    standardised = (textures - mean) / scale
    precision = LedoitWolf(assume_centered=True).fit(standardised).precision_
    joint = standardised.T @ (labels - labels.mean(0)) / len(labels)
    return labels.mean(0) + (others - mean) / scale @ precision @ joint


def test_distances_are_those_of_scikit_learn(trained, labels, reference):
    embeddings, textures = (
        np.concatenate(part) for part in zip(*map(plain_bags, trained), strict=True)
    )
    of_bags = np.repeat(labels, [len(plain_bags(clip)[1]) for clip in trained], axis=0)
    sounds = [a_sound(RNG, 1), a_sound(RNG, 6), a_sound(RNG, 20), a_sound(RNG, 9, centre=3.0)]
    for clip, scores in sounds:
        of_embeddings, of_textures = plain_bags(clip)
        cosines = []
        for which in range(N_EXTRACTORS):
            near = NearestNeighbors(n_neighbors=1, metric="cosine").fit(embeddings[:, which])
            cosines.append(near.kneighbors(of_embeddings[:, which])[0].mean())
        outlying = plain_outlying(textures, of_textures).mean()
        doubt = np.mean([1 - max(row) for row in scores])
        told = plain_labels(textures, of_bags, of_textures)
        dissent = np.mean([1 - sum(row * mine) for row, mine in zip(scores, told, strict=True)])
        wanted = [np.mean(cosines), outlying, doubt, dissent]
        np.testing.assert_allclose(reference.distances(clip, scores), wanted, rtol=5e-3)


def test_where_the_training_is_sparse_a_clip_is_no_more_outlying_than_where_it_is_dense():
    """Of two kinds one is spread ten times as widely as the other, in three directions."""
    rng = np.random.default_rng(1)
    ways = rng.standard_normal((3, BAG_TEXTURE_SIZE))

    def kind(width: float, n: int) -> np.ndarray:
        centre = 5 if width == 1 else -5
        return ((width * rng.standard_normal((n, 3)) + centre) @ ways).astype(np.float32)

    labels = np.repeat(np.eye(2, dtype=np.float32), 200, axis=0)
    textures = Textures.of(np.concatenate([kind(1, 200), kind(0.1, 200)]), labels)
    for width in (1, 0.1):
        assert textures.outlying(kind(width, 200)).mean() == pytest.approx(1, abs=0.1)


def test_a_long_clip_is_the_mean_of_its_bags(reference):
    sounds = [a_sound(RNG, 6), a_sound(RNG, 6, centre=2.0), a_sound(RNG, 6)]
    clips, scores = zip(*sounds, strict=True)
    wanted = np.mean([reference.distances(*sound) for sound in sounds], axis=0)
    found = reference.distances(joined(clips), np.concatenate(scores))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_who_says_what_the_texture_tells_dissents_from_nobody():
    """Four kinds apart in texture; scores of the right label, of another, of several, of none."""
    rng = np.random.default_rng(2)
    kinds = np.repeat(np.arange(4), 30)
    centres = 4 * rng.standard_normal((4, TEXTURE_SIZE))

    def clip_of(kind: int) -> Heard:
        clip = a_clip(rng)
        return Heard(clip.embeddings, (clip.texture + centres[kind]).astype(np.float32))

    reference = Reference.of([clip_of(kind) for kind in kinds], np.eye(4, dtype=bool)[kinds])
    says = np.eye(4, dtype=np.float32)
    clip = clip_of(2)
    right, wrong, both, half, none = (
        reference.distances(clip, scores[None])[3]
        for scores in (says[2], says[1], says[1] + says[2], 0.5 * says[2], 0 * says[2])
    )
    assert right < 0.1
    assert wrong > 0.9
    assert both == pytest.approx(0.5, abs=0.1)
    assert half == pytest.approx(right)
    assert none == 1


def test_scores_of_other_bags_are_those_at_their_place(reference):
    """Heads may look at longer or shorter bags."""
    clip, scores = a_sound(RNG, 24)
    by_half = reference.distances(clip, scores[[0, 2]])
    assert by_half[3] == pytest.approx(reference.distances(clip, scores[[0, 0, 2, 2]])[3])
    twice = reference.distances(clip, np.repeat(scores, 2, axis=0))
    np.testing.assert_allclose(twice, reference.distances(clip, scores), rtol=1e-6)


def test_without_a_texture_the_other_views_stay(reference):
    for clip, scores in (a_sound(RNG), a_sound(RNG, 20, 0.3), a_sound(RNG, 5, 5.0)):
        textless = Heard(clip.embeddings, np.empty((len(clip.texture), 0), np.float32))
        full, found = reference.distances(clip, scores), reference.distances(textless, scores)
        np.testing.assert_array_equal(found, [full[0], np.nan, full[2], np.nan])


def test_of_very_many_bags_only_some_are_kept():
    long, scores = a_sound(RNG, 6 * MOST_BAGS + 600)
    reference = Reference.of([long], some_labels(1, RNG))
    assert len(reference.textures.points) == reference.embeddings.shape[1] == MOST_BAGS
    few = Reference.of([a_clip(RNG, 60)], some_labels(1, RNG))
    assert reference.distances(long, scores)[0] < few.distances(long, scores)[0]


@pytest.mark.parametrize("n_clips", [1, 2, 5, 20])
def test_of_few_clips_there_are_distances_too(n_clips):
    reference = Reference.of([a_clip(RNG) for _ in range(n_clips)], some_labels(n_clips, RNG))
    found = reference.distances(*a_sound(RNG))
    assert np.isfinite(found).all()
    assert reference.distances(*a_sound(RNG, centre=9.0))[0] > found[0]


def test_a_clip_alone_has_no_neighbours_but_itself():
    clip, scores = a_sound(RNG)
    assert Reference.of([clip], some_labels(1, RNG)).distances(clip, scores)[1] == pytest.approx(
        0, abs=0.1
    )


def test_what_says_nothing_divides_by_no_zero():
    """Dead embeddings, and textures that never change."""
    dead = Heard(np.zeros((N_EXTRACTORS, 5, 128), np.float32), np.full((5, 288), -4.6, np.float32))
    sure = np.array([[1.0, 0.0, 0.0, 0.0]], np.float32)
    reference = Reference.of([dead] * 20, some_labels(20, RNG))
    assert np.isfinite(reference.distances(dead, sure)).all()
    assert reference.distances(a_clip(RNG), sure)[1] > reference.distances(dead, sure)[1]
