"""How much work clips and patches probably are, and whether a cluster is worth its start for it.

Rates are rough on purpose. They were measured on two cores of an x86 server with AVX2: decoding to
patches 14 ms for a clip of 5 s, shifting its pitch 15 ms, and 40 to 100 GFLOP/s a core in the
extractors.
"""

import os
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runtime.limits import Resources
from tagger.configs import VGGishConfig
from tagger.logmel import N_BANDS, PATCH_FRAMES, PATCH_HOP, SAMPLE_RATE_HZ

CLIP_COST_S: Final = 2.0  # what any clip costs beside its length, in seconds of audio
CLIP_CPU_S: Final = 0.005  # opening a clip, whatever its length
DECODE_CPU_S: Final = 0.003  # per second of audio, from bytes to patches, shifted or not
FLOP_PER_CPU_S: Final = 60e9  # in float32 on one core

ALONE_S: Final = 60.0
"""Work that is less on one core is done before a cluster has started and ended."""

SEGMENT_S: Final = PATCH_HOP / SAMPLE_RATE_HZ

_BYTES_PER_S: Final = {
    r"\.(wav|wave|aif|aiff|aifc|au|caf|w64|rf64)$": 176_400.0,  # 16 bit stereo at 44.1 kHz
    r"\.flac$": 90_000.0,
    r"\.(mp4|m4v|mov|mkv|webm|avi)$": 200_000.0,
}
_COMPRESSED_BYTES_PER_S: Final = 16_000.0


def fits_one_process(resources: Resources, cpu_s: float) -> bool:
    """Whether work of ``cpu_s`` is too small for a cluster, and nobody asked for one."""
    asked = (os.environ.get("RAY_ADDRESS"), resources.cpus, resources.gpus)
    return all(part is None for part in asked) and cpu_s < ALONE_S


def estimated_seconds(clips: pa.Table) -> npt.NDArray[np.float64]:
    """Work that each clip probably is, in seconds of audio, from its suffix and size.

    Parameters
    ----------
    clips : with the columns uri and size_bytes
    """
    uri = pc.utf8_lower(clips["uri"])
    rate = np.full(len(clips), _COMPRESSED_BYTES_PER_S)
    for pattern, bytes_per_s in _BYTES_PER_S.items():
        rate[pc.match_substring_regex(uri, pattern).to_numpy()] = bytes_per_s
    seconds: npt.NDArray[np.float64] = CLIP_COST_S + clips["size_bytes"].to_numpy() / rate
    return seconds


def embedding_cpu_s(config: VGGishConfig) -> float:
    """Seconds of one core that one patch takes in an extractor."""
    return flop_per_patch(config) / FLOP_PER_CPU_S


def flop_per_patch(config: VGGishConfig) -> float:
    """Floating point operations of one patch's way through VGGish, two per multiplication."""
    one, two, three, four = config.conv_widths
    n_pixels = PATCH_FRAMES * N_BANDS
    convolutions = (
        (n_pixels, one),
        (n_pixels // 4, one * two),
        (n_pixels // 16, two * three + three * three),
        (n_pixels // 64, three * four + four * four),
    )
    flat = four * n_pixels // 256
    dense = flat * config.hidden + config.hidden**2 + config.hidden * 128
    return 2.0 * (9 * sum(pixels * weights for pixels, weights in convolutions) + dense)
