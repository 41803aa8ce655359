"""The share of known clips that are less strange; what must hold whatever the numbers."""

import numpy as np
import pytest
from safetensors.numpy import load, save
from sklearn.neighbors import NearestNeighbors

from tagger.errors import CommandError
from tagger.heard import Heard
from tagger.novelty import LIMIT, NEAR, Novelty
from tagger.reference import Reference
from tests.support.heard import N_EXTRACTORS, Sound, a_clip, a_sound, plain_bags, some_labels

RNG = np.random.default_rng(0)


def distances(reference: Reference, n: int, rng: np.random.Generator = RNG) -> np.ndarray:
    return np.array([reference.distances(*a_sound(rng)) for _ in range(n)])


@pytest.fixture(scope="module")
def trained() -> list[Heard]:
    return [a_clip(RNG, n) for n in (1, 5, 6, 7, 14, 5, 5, 5) * 5]


@pytest.fixture(scope="module")
def reference(trained) -> Reference:
    return Reference.of(trained, some_labels(len(trained), RNG))


@pytest.fixture(scope="module")
def novelty(reference) -> Novelty:
    return Novelty.fit(reference, distances(reference, 40))


def plain_novelty(known: np.ndarray, mine: np.ndarray) -> float:
    """The share of a clip and known ones that are less strange than it, one by one."""
    logs = np.log(np.array([*known, mine]) + NEAR)
    strangeness = [np.mean((row - logs.mean(0)) / logs.std(0)) for row in logs]
    return sum(each < strangeness[-1] for each in strangeness[:-1]) / len(logs)


def test_novelty_is_the_share_of_known_clips_that_are_less_strange(reference):
    known = distances(reference, 50)
    novelty = Novelty.fit(reference, known)
    for sound in (a_sound(RNG), a_sound(RNG, centre=0.3), a_sound(RNG, centre=5.0)):
        assert novelty.of(*sound) == plain_novelty(known, reference.distances(*sound))


def test_without_a_texture_the_other_views_tell(reference):
    known = distances(reference, 50)
    novelty = Novelty.fit(reference, known)
    for clip, scores in (a_sound(RNG), a_sound(RNG, 20, 0.3), a_sound(RNG, centre=5.0)):
        textless = Heard(clip.embeddings, np.empty((len(clip.texture), 0), np.float32))
        mine = reference.distances(textless, scores)[[0, 2]]
        assert novelty.of(textless, scores) == plain_novelty(known[:, [0, 2]], mine)


@pytest.mark.parametrize("n_known", [20, 21, 38, 39, 72, 320])
def test_known_clips_beyond_the_limit_are_one_in_twenty_at_most(n_known):
    """Whatever their distances are like: those of every draw are one of n + 1 ranks."""
    rng = np.random.default_rng(n_known)
    n_draws, alarms = 1500, 0
    for _ in range(n_draws):
        drawn = np.exp(rng.standard_t(2.5, (n_known + 1, 4)) + 2 * rng.integers(0, 2))
        alarms += Novelty.fit(None, drawn[1:]).of_distances(drawn[0]) > LIMIT
    ranks_beyond = sum(rank / (n_known + 1) > LIMIT for rank in range(n_known + 1))
    wanted = ranks_beyond / (n_known + 1)
    assert wanted <= 1 - LIMIT
    assert alarms / n_draws == pytest.approx(wanted, abs=4 * np.sqrt(0.05 * 0.95 / n_draws))


def test_clips_like_the_known_ones_are_spread_evenly_and_others_are_beyond(reference):
    rng = np.random.default_rng(5)
    novelty = Novelty.fit(reference, distances(reference, 400, rng))
    alike = np.array([novelty.of(*a_sound(rng)) for _ in range(400)])
    for share in (0.1, 0.5, 0.9, 0.95):
        assert np.mean(alike <= share) == pytest.approx(share, abs=0.1)
    assert min(novelty.of(*a_sound(rng, centre=3.0)) for _ in range(20)) > 0.95


def test_a_sure_clip_of_the_training_is_hardly_strange(trained, novelty):
    sure = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
    assert max(novelty.of(clip, sure) for clip in trained) < 0.1


def test_doubt_makes_stranger_as_does_the_way_from_what_is_known(novelty):
    clip = a_clip(RNG)
    scores = [np.array([[best, 1 - best, 0, 0]], np.float32) for best in (1.0, 0.9, 0.7, 0.5)]
    by_doubt = [novelty.of(clip, each) for each in scores]
    assert by_doubt == sorted(by_doubt)
    assert by_doubt[0] < by_doubt[-1]
    ways = [a_clip(np.random.default_rng(1), centre=centre) for centre in (0, 1, 2, 4)]
    by_way = [novelty.of(way, scores[1]) for way in ways]
    assert by_way == sorted(by_way)
    assert by_way[0] < by_way[-1]


def test_a_long_clip_is_no_stranger_than_its_parts(novelty):
    assert novelty.of(*a_sound(RNG, 600)) < 0.95


def test_a_file_gives_the_same_numbers(novelty):
    again = Novelty.from_bytes(novelty.to_bytes(), N_EXTRACTORS)
    for sound in (a_sound(RNG), a_sound(RNG, 1), a_sound(RNG, centre=0.4)):
        np.testing.assert_array_equal(
            again.reference.distances(*sound), novelty.reference.distances(*sound)
        )
        assert again.of(*sound) == novelty.of(*sound)


def first_file(trained: list[Heard], known: np.ndarray) -> bytes:
    """As models had it before textures had axes: all of one neighbour, and of 192 features."""
    embeddings, textures = (
        np.concatenate(part) for part in zip(*map(plain_bags, trained), strict=True)
    )
    textures = textures[:, :192]
    unit = embeddings / np.linalg.norm(embeddings, axis=2, keepdims=True)
    mean, scale = textures.mean(0), textures.std(0)
    logs = np.log(known + NEAR)
    return save(
        {
            "embeddings": np.ascontiguousarray(unit.transpose(1, 0, 2), np.float16),
            "textures": ((textures - mean) / scale).astype(np.float16),
            "texture_mean": mean.astype(np.float32),
            "texture_scale": scale.astype(np.float32),
            "mean": logs.mean(0),
            "scale": logs.std(0),
            "known": (logs - logs.mean(0)) / logs.std(0),
        }
    )


def first_distances(trained: list[Heard], sound: Sound) -> np.ndarray:
    clip, scores = sound
    embeddings, textures = (
        np.concatenate(part) for part in zip(*map(plain_bags, trained), strict=True)
    )
    of_embeddings, of_textures = plain_bags(clip)
    cosines = [
        NearestNeighbors(n_neighbors=1, metric="cosine").fit(mine).kneighbors(others)[0].mean()
        for mine, others in zip(
            embeddings.transpose(1, 0, 2), of_embeddings.transpose(1, 0, 2), strict=True
        )
    ]
    scale = textures[:, :192].std(0)
    near = NearestNeighbors(n_neighbors=1).fit(textures[:, :192] / scale)
    apart = near.kneighbors(of_textures[:, :192] / scale)[0].mean()
    return np.array([np.mean(cosines), apart, 1 - scores.max(1).mean()])


def test_files_of_the_first_kind_tell_what_they_told(trained):
    known = np.array([first_distances(trained, a_sound(RNG)) for _ in range(30)])
    novelty = Novelty.from_bytes(first_file(trained, known), N_EXTRACTORS)
    logs = np.log(known + NEAR)
    strangeness = np.mean((logs - logs.mean(0)) / logs.std(0), axis=1)
    for sound in (*(a_sound(RNG, n) for n in (1, 5, 6, 14)), a_sound(RNG, centre=5.0)):
        wanted = first_distances(trained, sound)
        found = novelty.reference.distances(*sound)
        np.testing.assert_allclose(found, [*wanted, 1.0], rtol=2e-3)
        mine = np.mean((np.log(wanted + NEAR) - logs.mean(0)) / logs.std(0))
        assert novelty.of(*sound) == pytest.approx(np.mean(strangeness < mine), abs=0.04)
    assert novelty.of(*a_sound(RNG, centre=5.0)) == 1.0


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("known"),
        lambda found: found.update(known=np.zeros((0, 4))),
        lambda found: found.update(known=np.zeros((9, 3))),
        lambda found: found.update(known=np.full((9, 4), np.nan)),
        lambda found: found.update(textures=np.zeros((3, 16), np.float16)),
        lambda found: found.update(axes=np.zeros((192, 16), np.float16)),
        lambda found: found.update(n_neighbours=np.array([1000])),
        lambda found: found.update(axes=np.array(1.0)),
        lambda found: found.update(spacing=0 * found["spacing"]),
        lambda found: found.update(level=np.zeros(3, np.float16)),
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
