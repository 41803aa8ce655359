"""Arrays of samples are the recordings that hold them; what holds no sound is told in a line."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tagger.errors import CommandError
from tagger.samples import recording_of

RATE = 8_000


def held(samples: Any, rate: float = RATE) -> np.ndarray:
    """(n, channels) float32 that the recording holds."""
    recording = recording_of(samples, rate)
    recording.seek(0)
    found, its_rate = soundfile.read(recording, dtype="float32", always_2d=True)
    assert its_rate == rate
    return found


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape)


FILES = {
    "int16": ("WAV", "PCM_16", 16),
    "int32": ("WAV", "PCM_32", 0),
    "uint8": ("WAV", "PCM_U8", 24),
    "int8": ("AIFF", "PCM_S8", 24),
}
"""By type the file that holds such integers, and how far libsndfile shifts them out of 32 bits."""


@pytest.mark.parametrize("dtype", FILES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_integers_are_scaled_as_files_are(dtype: str, order: str) -> None:
    container, subtype, shift = FILES[dtype]
    extremes = np.array([[-(2**31), 2**31 - 1], [0, 1 << shift]], np.int64)
    signed = np.concatenate([extremes, (noise(500, 2) * (2**31 - 1)).astype(np.int64)]) >> shift
    file = io.BytesIO()
    soundfile.write(file, (signed << shift).astype(np.int32), RATE, subtype, format=container)
    file.seek(0)
    wanted, _ = soundfile.read(file, dtype="float32")
    samples = signed + 128 if dtype == "uint8" else signed
    kind = np.dtype(dtype).newbyteorder(order)
    np.testing.assert_array_equal(held(samples.astype(kind)), wanted)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_of_any_width_and_byte_order(dtype: str, order: str) -> None:
    kind = np.dtype(dtype)
    samples = 3 * noise(100, 2).astype(kind)  # beyond full scale, as float files may be
    given_ = samples if dtype == "longdouble" else samples.astype(kind.newbyteorder(order))
    np.testing.assert_array_equal(held(given_), samples.astype(np.float32))


def test_views_lists_and_what_is_not_finite() -> None:
    samples = noise(100, 2).astype(np.float32)
    np.testing.assert_array_equal(held(np.asfortranarray(samples)[::-2]), samples[::-2])
    np.testing.assert_array_equal(held([0.5, -0.5]), [[0.5], [-0.5]])
    assert np.isnan(held(np.array([1.0, np.nan]))[1])
    assert np.isinf(held(np.array([1.0, 1e300]))[1])
    assert held(np.zeros((0, 2))).shape == (0, 2)
    assert held(samples, np.float64(RATE)).shape == held(samples, np.int32(RATE)).shape


NO_SOUND = [
    np.ones(9, bool),
    np.ones(9, np.complex64),
    np.array([1.0, None]),
    np.array(["1", "2"]),
    np.ones(9, "datetime64[s]"),
    np.ones(9, np.int64),
    np.ones(9, np.uint16),
    [1, 2, 3],
]


@pytest.mark.parametrize("samples", NO_SOUND, ids=lambda samples: str(np.asarray(samples).dtype))
def test_types_that_no_file_has_are_refused(samples: Any) -> None:
    with pytest.raises(TypeError, match="give floating point") as e:
        recording_of(samples, RATE)
    assert str(np.asarray(samples).dtype) in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("shape", [(2, 16_000), (1, 9), (6, 7)])
def test_channels_that_come_first_are_refused_with_the_way_to_mend_it(
    shape: tuple[int, int],
) -> None:
    with pytest.raises(CommandError, match=r"give \(n, channels\), which is samples\.T"):
        recording_of(np.zeros(shape, np.float32), RATE)
    assert held(np.zeros(shape, np.float32).T).shape == shape[::-1]


@pytest.mark.parametrize("shape", [(), (2, 3, 4), (9, 0), (2000, 1025)])
def test_shapes_that_no_recording_has(shape: tuple[int, ...]) -> None:
    with pytest.raises(CommandError, match="samples of shape"):
        recording_of(np.zeros(shape, np.float32), RATE)


@given(st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()))
def test_a_rate_is_a_whole_number_of_hertz(rate: Any) -> None:
    samples = np.zeros(9, np.float32)
    whole = isinstance(rate, int | float) and 0 < rate < 2**31 and rate == int(rate)
    if whole:
        assert held(samples, rate).shape == (9, 1)
        return
    with pytest.raises(CommandError, match="whole number of hertz") as caught:
        recording_of(samples, rate)
    assert "\n" not in str(caught.value)
