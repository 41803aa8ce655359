"""Novelty against scikit-learn and slow plain versions; what must hold whatever the numbers."""

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.neighbors import NearestNeighbors

from tagger.errors import CommandError
from tagger.novelty import MOST_BAGS, NEAR, Heard, Novelty, Reference, joined, texture
from tagger.segments import bags

RNG = np.random.default_rng(0)
N_EXTRACTORS = 2
Sound = tuple[Heard, np.ndarray]


def a_clip(n_segments: int = 5, centre: float = 0.0, rng: np.random.Generator = RNG) -> Heard:
    """Embeddings as ReLU leaves them, and textures; of kinds with other centres they differ."""
    embeddings = rng.standard_normal((N_EXTRACTORS, n_segments, 128)) + np.arange(128) % 3
    embeddings[..., :64] += centre
    textures = rng.standard_normal((n_segments, 192)) + centre
    return Heard(np.maximum(embeddings, 0).astype(np.float32), textures.astype(np.float32))


def a_sound(n_segments: int = 5, centre: float = 0.0, rng: np.random.Generator = RNG) -> Sound:
    """A clip with the ensemble's scores of its bags, the flatter the farther from the centre."""
    clip = a_clip(n_segments, centre, rng)
    logits = rng.standard_normal((-(-n_segments // 6), 4)) * 3 / (1 + centre)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return clip, shares.astype(np.float32)


def distances(reference: Reference, n: int, rng: np.random.Generator = RNG) -> np.ndarray:
    return np.array([reference.distances(*a_sound(rng=rng)) for _ in range(n)])


@pytest.fixture(scope="module")
def trained() -> list[Heard]:
    return [a_clip(n) for n in (1, 5, 6, 7, 14, 5, 5, 5)]


@pytest.fixture(scope="module")
def reference(trained) -> Reference:
    return Reference.of(trained)


@pytest.fixture(scope="module")
def novelty(reference) -> Novelty:
    return Novelty.fit(reference, distances(reference, 40))


def test_textures_are_mean_deviation_and_step_of_each_band():
    patches = RNG.standard_normal((3, 96, 64)).astype(np.float16)
    found = texture(patches)
    assert (found.shape, found.dtype) == ((3, 192), np.float32)
    for patch, row in zip(patches.astype(np.float64), found, strict=True):
        for band in range(64):
            steps = [abs(patch[i + 1, band] - patch[i, band]) for i in range(95)]
            wanted = [patch[:, band].mean(), patch[:, band].std(), sum(steps) / 95]
            np.testing.assert_allclose(row[[band, 64 + band, 128 + band]], wanted, rtol=1e-4)


def means(clip: Heard) -> tuple[np.ndarray, np.ndarray]:
    """Mean embedding and texture of each bag, (n_bags, n_extractors, 128) and (n_bags, 192)."""
    index = bags(len(clip.texture), 6)
    embeddings = [[vectors[bag].mean(0) for vectors in clip.embeddings] for bag in index]
    return np.array(embeddings), np.array([clip.texture[bag].mean(0) for bag in index])


def test_distances_are_those_of_the_nearest_neighbours_of_scikit_learn(trained, reference):
    embeddings, textures = (np.concatenate(part) for part in zip(*map(means, trained), strict=True))
    scale = textures.std(0)
    for clip, scores in (a_sound(1), a_sound(6), a_sound(20), a_sound(9, centre=3.0)):
        of_embeddings, of_textures = means(clip)
        cosines = []
        for which in range(N_EXTRACTORS):
            near = NearestNeighbors(n_neighbors=1, metric="cosine").fit(embeddings[:, which])
            cosines.append(near.kneighbors(of_embeddings[:, which])[0].mean())
        near = NearestNeighbors(n_neighbors=1).fit(textures / scale)
        texture_apart = near.kneighbors(of_textures / scale)[0].mean()
        doubt = np.mean([1 - max(row) for row in scores])
        wanted = [np.mean(cosines), texture_apart, doubt]
        np.testing.assert_allclose(reference.distances(clip, scores), wanted, rtol=2e-3)


def test_novelty_is_the_share_of_known_clips_that_are_less_strange(reference):
    known = distances(reference, 50)
    novelty = Novelty.fit(reference, known)
    logs = np.log(known + NEAR)
    strangeness = ((logs - logs.mean(0)) / logs.std(0)).mean(1)
    for sound in (a_sound(), a_sound(centre=0.3), a_sound(centre=5.0)):
        found = np.log(reference.distances(*sound) + NEAR)
        mine = ((found - logs.mean(0)) / logs.std(0)).mean()
        assert novelty.of(*sound) == np.mean([other < mine for other in strangeness])


def test_clips_like_the_known_ones_are_spread_evenly_and_others_are_beyond(reference):
    rng = np.random.default_rng(5)
    novelty = Novelty.fit(reference, distances(reference, 400, rng))
    alike = np.array([novelty.of(*a_sound(rng=rng)) for _ in range(400)])
    for share in (0.1, 0.5, 0.9, 0.95):
        assert np.mean(alike <= share) == pytest.approx(share, abs=0.1)
    assert min(novelty.of(*a_sound(centre=3.0, rng=rng)) for _ in range(20)) > 0.95


def test_a_sure_clip_of_the_training_is_not_strange(trained, novelty):
    sure = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
    for clip in trained:
        assert novelty.of(clip, sure) == 0.0


def test_doubt_makes_stranger_as_does_the_way_from_what_is_known(novelty):
    clip = a_clip()
    scores = [np.array([[best, 1 - best]], np.float32) for best in (1.0, 0.9, 0.7, 0.5)]
    by_doubt = [novelty.of(clip, each) for each in scores]
    assert by_doubt == sorted(by_doubt)
    assert by_doubt[0] < by_doubt[-1]
    centres = (0, 0.2, 0.5, 2)
    by_way = [
        novelty.of(a_clip(centre=c, rng=np.random.default_rng(1)), scores[1]) for c in centres
    ]
    assert by_way == sorted(by_way)
    assert by_way[0] < by_way[-1]


def test_a_long_clip_is_the_mean_of_its_bags(novelty, reference):
    sounds = [a_sound(6), a_sound(6, centre=2.0), a_sound(6)]
    clips, scores = zip(*sounds, strict=True)
    wanted = np.mean([reference.distances(*sound) for sound in sounds], axis=0)
    found = reference.distances(joined(clips), np.concatenate(scores))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert novelty.of(*a_sound(600)) < 0.95


def test_without_a_texture_the_other_views_tell(reference):
    known = distances(reference, 50)
    novelty = Novelty.fit(reference, known)
    logs = np.log(known + NEAR)[:, [0, 2]]
    strangeness = ((logs - logs.mean(0)) / logs.std(0)).mean(1)
    for clip, scores in (a_sound(), a_sound(20, centre=0.3), a_sound(centre=5.0)):
        textless = Heard(clip.embeddings, np.empty((len(clip.texture), 0), np.float32))
        full, found = reference.distances(clip, scores), reference.distances(textless, scores)
        np.testing.assert_array_equal(found, [full[0], np.nan, full[2]])
        mine = ((np.log(full[[0, 2]] + NEAR) - logs.mean(0)) / logs.std(0)).mean()
        assert novelty.of(textless, scores) == np.mean([other < mine for other in strangeness])


def test_of_very_many_bags_only_some_are_kept():
    long, scores = a_sound(6 * MOST_BAGS + 600)
    reference = Reference.of([long])
    assert len(reference.textures) == reference.embeddings.shape[1] == MOST_BAGS
    few = Reference.of([a_clip(60)])
    assert (reference.distances(long, scores)[:2] < few.distances(long, scores)[:2]).all()


def test_what_says_nothing_is_no_mistake():
    """Dead embeddings, and textures that never change, divide by no zero."""
    dead = Heard(np.zeros((N_EXTRACTORS, 5, 128), np.float32), np.full((5, 192), -4.6, np.float32))
    sure = np.array([[1.0, 0.0]], np.float32)
    reference = Reference.of([dead, dead])
    novelty = Novelty.fit(reference, np.array([reference.distances(dead, sure)] * 20))
    assert novelty.of(dead, sure) == 0.0
    assert novelty.of(*a_sound()) == 1.0


def test_a_file_gives_the_same_numbers(novelty):
    again = Novelty.from_bytes(novelty.to_bytes(), N_EXTRACTORS)
    for sound in (a_sound(), a_sound(1), a_sound(centre=0.4)):
        np.testing.assert_array_equal(
            again.reference.distances(*sound), novelty.reference.distances(*sound)
        )
        assert again.of(*sound) == novelty.of(*sound)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("known"),
        lambda found: found.update(known=np.zeros((0, 3))),
        lambda found: found.update(mean=np.zeros(2)),
        lambda found: found.update(scale=np.array([1.0, np.nan, 1.0])),
        lambda found: found.update(textures=np.zeros((3, 192), np.float16)),
        lambda found: found.update(embeddings=np.zeros((1, 9, 128), np.float16)),
    ],
)
def test_a_file_of_something_else_is_refused_in_a_line(novelty, change):
    found = load(novelty.to_bytes())
    change(found)
    with pytest.raises(CommandError, match="of no use") as caught:
        Novelty.from_bytes(save(found), N_EXTRACTORS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"no safetensors at all"])
def test_a_file_that_is_none_is_refused(data):
    with pytest.raises(CommandError, match="of no use"):
        Novelty.from_bytes(data, N_EXTRACTORS)
