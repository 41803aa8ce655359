"""The demo's collection is what it claims to be."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.demo.run import RECORDINGS, SECONDS, make_collection
from pipelines.demo.sounds import SOUNDS
from tagger.audio import load
from tagger.errors import ClipError, Reason


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("demo") / "audio")


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: recording.sound)
def test_every_recording_decodes_as_it_was_meant(collection: Path, recording) -> None:
    signal, blocks = load(collection / f"{recording.sound}.{recording.suffix}")
    assert (signal.sample_rate_hz, signal.channels) == (recording.rate_hz, recording.channels)
    assert signal.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert signal.damage is None
    assert sum(len(block) for block in blocks) > 16_000


def test_the_broken_ones_are_broken(collection: Path) -> None:
    signal, _ = load(collection / "cut off.flac")
    assert signal.damage
    assert signal.duration_s < SECONDS
    with pytest.raises(ClipError) as caught:
        load(collection / "empty.wav")
    assert caught.value.reason is Reason.EMPTY


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds_are_reproducible_and_differ_by_seed(name: str) -> None:
    one, same, other = (
        SOUNDS[name](1.0, 16_000, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == (16_000,)
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, same)
    if name not in ("crying baby", "rooster"):  # these are nearly all voice
        assert np.abs(one - other).max() > 0.01
