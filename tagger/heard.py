"""What of a clip is compared with what a model was trained on: embeddings and textures.

A texture describes a patch without any network. Of a bag of segments there is also how its level
moves from segment to segment, as that of waves does and that of rain does not.

Conventions: embeddings of a clip are (n_extractors, n_segments, 128) float32; textures
(n_segments, 288) float32. Needs no torch.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from tagger.arrays import FloatArray, IndexArray
from tagger.logmel import N_BANDS, PATCH_FRAMES
from tagger.segments import bags

BAG: Final = 6  # segments that are compared as one; as in the paper's attention
BANDS_TOGETHER: Final = 4  # of which one modulation spectrum is made
OCTAVES: Final = (1, 2, 4, 8, 16, 32, PATCH_FRAMES // 2 + 1)
"""Where bands of its bins begin, each an octave but for the last; a bin is 1.04 Hz wide."""
TEXTURE_SIZE: Final = 3 * N_BANDS + (len(OCTAVES) - 1) * N_BANDS // BANDS_TOGETHER
BAG_TEXTURE_SIZE: Final = TEXTURE_SIZE + N_BANDS

_STILL: Final = np.float32(1e-3)  # modulation that does not count


class Heard(NamedTuple):
    """What of a clip is compared with what a model was trained on.

    Attributes
    ----------
    embeddings : (n_extractors, n_segments, 128)
    texture : (n_segments, 288), or (n_segments, 0) where it is unknown or of no use
    """

    embeddings: FloatArray
    texture: FloatArray

    def part(self, segments: slice | IndexArray) -> "Heard":
        """The same of some segments."""
        return Heard(self.embeddings[:, segments], self.texture[segments])

    def by_bag(self) -> tuple[FloatArray, FloatArray]:
        """Mean embedding (n_extractors, n_bags, 128) and texture (n_bags, 352) of each bag.

        The texture is the mean over the bag's segments, and the standard deviation over them of
        the mean level of each mel band.
        """
        index = bags(len(self.texture), BAG)
        textures = self.texture[index]
        levels = textures[:, :, :N_BANDS].std(1)
        return self.embeddings[:, index].mean(2), np.concatenate([textures.mean(1), levels], axis=1)


def joined(parts: Sequence[Heard]) -> Heard:
    """The parts of a clip, in order, as one."""
    embeddings = np.concatenate([part.embeddings for part in parts], axis=1)
    return Heard(embeddings, np.concatenate([part.texture for part in parts]))


def texture(patches: FloatArray) -> FloatArray:
    """Of each patch (n, 96, 64) of any floating type, (n, 288) float32.

    Mean, standard deviation, and mean step from frame to frame of each mel band over the patch;
    then, from each octave of 1 to 50 Hz, the logarithm of the mean power at which each four bands
    are modulated (as in McDermott and Simoncelli, "Sound texture perception via statistics of the
    auditory periphery", Neuron 2011).
    """
    values = patches.astype(np.float32, copy=False)
    mean, unrest = values.mean(1), np.abs(np.diff(values, axis=1)).mean(1)
    found: FloatArray = np.concatenate([mean, values.std(1), unrest, _modulation(values)], axis=1)
    return found


def _modulation(values: FloatArray) -> FloatArray:
    """(n, 96) by octave and four bands: log mean power of modulation of (n, 96, 64)."""
    spectrum = _SPECTRUM @ (values @ _TOGETHER)
    power = np.log(_BY_OCTAVE @ spectrum**2 + _STILL)
    found: FloatArray = power.reshape(len(values), -1)
    return found


def _spectrum() -> FloatArray:
    """(96, 96): real and imaginary part of bins 1 to 48, without the mean, under a Hann window."""
    window = np.hanning(PATCH_FRAMES)[:, None]
    transform = np.fft.rfft(window * (np.eye(PATCH_FRAMES) - 1 / PATCH_FRAMES), axis=0)[1:]
    return np.concatenate([transform.real, transform.imag]).astype(np.float32)


def _by_octave() -> FloatArray:
    """(6, 96): the mean over the bins of each octave."""
    bins = np.tile(np.arange(1, PATCH_FRAMES // 2 + 1), 2)
    within = [(low <= bins) & (bins < high) for low, high in pairwise(OCTAVES)]
    return np.array([each / (each.sum() / 2) for each in within], np.float32)


_SPECTRUM: Final = _spectrum()
_BY_OCTAVE: Final = _by_octave()
_TOGETHER: Final = np.repeat(
    np.eye(N_BANDS // BANDS_TOGETHER, dtype=np.float32) / BANDS_TOGETHER, BANDS_TOGETHER, axis=0
)
