"""Arrays of samples as the recordings that hold them."""

import io
from numbers import Real
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile

from tagger.arrays import FloatArray
from tagger.errors import CommandError

_MOST_CHANNELS: Final = 1024  # that libsndfile writes
_MOST_HZ: Final = 2**31 - 1
_FULL_SCALE: Final = {"i1": 2.0**7, "u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31}
"""By kind and bytes of the integers that audio files hold."""


def recording_of(samples: npt.ArrayLike, sample_rate_hz: float) -> io.BytesIO:
    """The recording that holds these samples, in float32.

    Parameters
    ----------
    samples : (n,) or (n, channels); floating point of any width, 1.0 for full scale, or integers of
        8, 16 or 32 bits as audio files hold them (of 8 bits also unsigned, 128 for silence); in any
        byte order
    sample_rate_hz : a whole number

    Raises
    ------
    TypeError : samples of a type that no audio file has
    CommandError : a shape or a rate that no recording has
    """
    values = _scaled(_shaped(np.asarray(samples)))
    recording = io.BytesIO()
    soundfile.write(recording, values, _rate(sample_rate_hz), format="W64", subtype="FLOAT")
    return recording


def _shaped(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The samples; CommandError where their shape is not (n,) or (n, channels)."""
    given = f"samples of shape {samples.shape}"
    if samples.ndim not in (1, 2):
        raise CommandError(f"{given}: give (n,) or (n, channels)")
    n, channels = samples.shape if samples.ndim == 2 else (len(samples), 1)
    if 0 < n < channels:
        raise CommandError(
            f"{given} would be more channels than samples: give (n, channels), which is samples.T"
        )
    if not 0 < channels <= _MOST_CHANNELS:
        raise CommandError(f"{given}: give 1 to {_MOST_CHANNELS} channels")
    return samples


def _scaled(samples: npt.NDArray[Any]) -> FloatArray:
    """Samples with full scale 1.0; TypeError where nobody knows what full scale is."""
    kind = samples.dtype.kind
    full_scale = 1.0 if kind == "f" else _FULL_SCALE.get(f"{kind}{samples.dtype.itemsize}")
    if full_scale is None:
        raise TypeError(
            f"samples of type {samples.dtype}: give floating point, 1.0 for full scale, or "
            "integers as audio files hold them: int16, int32, int8 or uint8"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # infinite is told of the clip
        values = samples.astype(np.float32)
    if kind == "u":
        values -= np.float32(full_scale)
    if kind != "f":
        values /= np.float32(full_scale)
    return values


def _rate(sample_rate_hz: float) -> int:
    """The rate; CommandError where it is no whole number of hertz."""
    if isinstance(sample_rate_hz, Real) and 0 < sample_rate_hz <= _MOST_HZ:
        rate = int(sample_rate_hz)
        if rate == sample_rate_hz:
            return rate
    raise CommandError(
        f"sample_rate_hz is {sample_rate_hz!r}: give a whole number of hertz, such as 44100"
    )
