"""Textures against slow plain versions."""

import numpy as np

from tagger.heard import BAG_TEXTURE_SIZE, TEXTURE_SIZE, Heard, joined, texture
from tests.support.heard import a_clip, plain_bags

RNG = np.random.default_rng(0)


def test_textures_begin_with_mean_deviation_and_step_of_each_band():
    patches = RNG.standard_normal((3, 96, 64)).astype(np.float16)
    found = texture(patches)
    assert (found.shape, found.dtype) == ((3, TEXTURE_SIZE), np.float32)
    for patch, row in zip(patches.astype(np.float64), found, strict=True):
        for band in range(64):
            steps = [abs(patch[i + 1, band] - patch[i, band]) for i in range(95)]
            wanted = [patch[:, band].mean(), patch[:, band].std(), sum(steps) / 95]
            np.testing.assert_allclose(row[[band, 64 + band, 128 + band]], wanted, rtol=1e-4)


def test_textures_end_with_the_modulation_of_each_four_bands():
    patches = RNG.standard_normal((2, 96, 64))
    for patch, row in zip(patches, texture(patches), strict=True):
        found = row[192:].reshape(6, 16)
        for group in range(16):
            level = patch[:, 4 * group : 4 * group + 4].mean(1)
            power = np.abs(np.fft.rfft((level - level.mean()) * np.hanning(96))) ** 2
            octaves = ((1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 49))
            wanted = [np.log(power[low:high].mean() + 1e-3) for low, high in octaves]
            np.testing.assert_allclose(found[:, group], wanted, rtol=1e-3, atol=1e-3)


def test_a_sound_that_pulses_is_modulated_in_that_octave():
    """0.96 s of a level that moves six times a second: bins 4 to 7 of 1.04 Hz."""
    times_s = 0.01 * np.arange(96)
    patch = np.repeat(np.sin(2 * np.pi * 6 * times_s)[:, None], 64, axis=1)
    by_octave = texture(patch[None])[0, 192:].reshape(6, 16)
    assert (by_octave.argmax(0) == 2).all()
    louder = texture(patch[None] + 3.0)[0, 192:].reshape(6, 16)
    np.testing.assert_allclose(louder, by_octave, atol=0.05)


def test_bags_are_means_and_how_the_level_moves():
    for n_segments in (1, 5, 6, 8, 13):
        clip = a_clip(RNG, n_segments)
        embeddings, textures = clip.by_bag()
        of_embeddings, of_textures = plain_bags(clip)
        np.testing.assert_allclose(embeddings.transpose(1, 0, 2), of_embeddings, rtol=1e-5)
        np.testing.assert_allclose(textures, of_textures, rtol=1e-4, atol=1e-6)
        assert textures.shape[1] == BAG_TEXTURE_SIZE


def test_parts_are_joined_again():
    clip = a_clip(RNG, 14)
    again = joined([clip.part(slice(0, 6)), clip.part(slice(6, 14))])
    assert all(map(np.array_equal, again, clip))


def test_an_unknown_texture_stays_unknown():
    clip = Heard(a_clip(RNG, 7).embeddings, np.empty((7, 0), np.float32))
    embeddings, textures = clip.by_bag()
    assert (embeddings.shape, textures.shape) == ((2, 2, 128), (2, 0))
