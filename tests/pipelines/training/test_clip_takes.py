"""The takes of one clip: which copies it gets, and the patches of each."""

import io

import numpy as np
import pytest
import soundfile

from pipelines.training.clip_takes import Take, decode_takes, takes_of
from pipelines.training.jobs import PrepareJob
from tagger import audio, logmel, sampling
from tests.support.small_data import RATE_HZ, tone


def test_takes_depend_on_name_copy_and_seed_alone():
    plain = PrepareJob(data="", work="", seed=3)
    takes = takes_of("x.wav", 5, plain)
    assert takes == takes_of("x.wav", 9, plain)[:6]
    assert [take.n_semitones for take in takes[1:]] == [
        sampling.draw_semitones("x.wav", copy, 3) for copy in range(1, 6)
    ]
    assert {take.offset for take in takes} == {0}
    moved = takes_of("x.wav", 5, PrepareJob(data="", work="", seed=3, shift_start=True))
    offsets = [take.offset for take in moved]
    assert offsets[0] == 0
    assert len(set(offsets)) == 6
    assert max(offsets) < logmel.PATCH_HOP
    few = PrepareJob(data="", work="", most_semitones=2)
    assert {abs(t.n_semitones) for t in takes_of("x.wav", 9, few)[1:]} == {1, 2}


def test_a_copy_starts_late_but_keeps_one_patch():
    recording = np.concatenate([tone(0, 0, 1.2), tone(4, 0, 1.2)])
    buffer = io.BytesIO()
    soundfile.write(buffer, recording, RATE_HZ, format="WAV")
    takes = [Take(0, 0, 0), Take(1, 0, 8_000), Take(2, 0, 40_000)]
    whole, late, last = decode_takes(buffer.getvalue(), takes, 1.0)
    assert [len(patches) for patches in (whole, late, last)] == [2, 1, 1]
    np.testing.assert_allclose(late[0, :46], whole[0, 50:], atol=1e-4)


@pytest.mark.parametrize("rate_hz", [8_000, RATE_HZ, 44_100])
def test_a_clip_is_decoded_once_for_all_its_copies(rate_hz, monkeypatch):
    """And the take that is no copy is to the last bit what ``tag`` makes of the clip.

    Longer than one block of the decoder, so that the two differ in how they are cut into pieces.
    """
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * rng.standard_normal(25 * rate_hz), rate_hz, format="FLAC")
    expected = logmel.patches(audio.waveform(buffer.getvalue())[1])
    n_decoded = []
    original = audio.decode_blocks
    monkeypatch.setattr(
        audio, "decode_blocks", lambda *args: n_decoded.append(1) or original(*args)
    )
    takes = [Take(0, 0, 0), Take(1, -5, 0), Take(2, 7, 100)]
    whole, *copies = decode_takes(buffer.getvalue(), takes, 1.0)
    assert len(n_decoded) == 1
    np.testing.assert_array_equal(whole, expected)
    assert [len(patches) for patches in copies] == [len(whole)] * 2
