"""Recordings are decoded where and as they were tagged."""

from contextlib import closing

import numpy as np
import pytest
import soundfile

from pipelines.inputs import listing
from pipelines.inputs.access import Access
from pipelines.reporting.hearing import Clip, Listener
from pipelines.runtime.limits import Limits
from pipelines.storage.uris import track_id
from tagger.errors import ClipError, Reason
from tagger.levels import CANCELLED
from tests.support.containers import HIGH, LOW, RATE, container
from tests.support.sounds import write_sound


@pytest.fixture(scope="module")
def listener():
    listener = Listener(Limits(), Access(origins=frozenset()))
    yield listener
    listener.close()


def clip_of(path, duration_s=30.0, notes=None):
    (row,) = listing.gather([str(path)]).to_pylist()
    key = {name: row[name] for name in ("clip_id", "uri", "version", "size_bytes")}
    return Clip(**key, duration_s=duration_s, peak=1.0, notes=notes)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_stretches_are_the_samples_at_those_times(tmp_path, listener, name):
    path = write_sound(tmp_path / name, 30.0, rate=8_000, channels=2)
    samples = soundfile.read(path, dtype="float32")[0].mean(axis=1)
    spans = [(20.0, 28.0), (0.0, 0.5), (9.5, 17.5), (29.0, 37.0)]
    found = listener.stretches(clip_of(path), spans)
    for (start_s, end_s), sound in zip(spans, found, strict=True):
        expected = samples[round(start_s * 8_000) : round(end_s * 8_000)]
        np.testing.assert_allclose(sound.samples, expected, atol=1e-7)


def test_channels_that_cancel_each_other_are_heard(tmp_path, listener):
    one = 0.1 * np.random.default_rng(0).standard_normal(8_000)
    soundfile.write(tmp_path / "a.wav", np.column_stack([one, -one]), 8_000, "FLOAT")
    (silent,) = listener.stretches(clip_of(tmp_path / "a.wav"), [(0.0, 1.0)])
    (heard,) = listener.stretches(clip_of(tmp_path / "a.wav", notes=CANCELLED), [(0.0, 1.0)])
    assert np.abs(silent.samples).max() == 0.0
    np.testing.assert_allclose(np.abs(heard.samples), np.abs(one), atol=1e-7)


def test_a_recording_that_breaks_off_is_heard_as_far_as_it_goes(tmp_path, listener):
    path = write_sound(tmp_path / "a.flac", 30.0, rate=8_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    early, late = listener.stretches(clip_of(path), [(1.0, 9.0), (25.0, 30.0)])
    assert len(early.samples) == 64_000
    assert len(late.samples) == 0


def test_one_that_is_gone_or_has_changed_is_a_failure_of_its_own(tmp_path, listener):
    path = write_sound(tmp_path / "a.wav")
    clip = clip_of(path)
    path.write_bytes(b"something else")
    with pytest.raises(ClipError) as caught:
        listener.stretches(clip, [(0.0, 1.0)])
    assert caught.value.reason is Reason.CHANGED_DURING_RUN
    path.unlink()
    with pytest.raises(ClipError) as caught:
        listener.stretches(clip, [(0.0, 1.0)])
    assert caught.value.reason is Reason.VANISHED


@pytest.mark.s3
def test_a_store_that_refuses_is_not_asked_for_each_clip(s3, monkeypatch):
    clip = Clip("0" * 32, f"{s3.new_prefix()}/a.wav", "v", 10, 1.0, 1.0, None)
    with closing(Listener(Limits(), Access(patience_s=5.0, origins=frozenset()))) as listener:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
            with pytest.raises(ClipError) as refused:
                listener.stretches(clip, [(0.0, 1.0)])
        with pytest.raises(ClipError) as again:
            listener.stretches(clip, [(0.0, 1.0)])
    assert refused.value.reason is Reason.UNREADABLE
    assert again.value.detail == refused.value.detail


def test_the_track_that_was_tagged_is_the_one_that_is_heard(tmp_path, listener):
    path = tmp_path / "film.mka"
    path.write_bytes(container([LOW, HIGH], default=2))
    clip = clip_of(path)
    first = clip._replace(uri=f"{clip.uri}#track=1", clip_id=track_id(clip.uri, clip.version, 1))
    with closing(Listener(Limits(), Access(), track=1)) as of_track_1:
        heard = [listener.stretches(clip, [(0.0, 2.0)])]
        heard += [listener.stretches(first, [(0.0, 2.0)]), of_track_1.stretches(clip, [(0.0, 2.0)])]
    tones = [np.argmax(np.abs(np.fft.rfft(sound.samples[:RATE]))) for (sound,) in heard]
    assert tones == [HIGH, LOW, LOW]
