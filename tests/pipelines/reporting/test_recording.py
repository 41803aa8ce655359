"""One recording in full: its strips, its sound, and a player in a Chromium."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.reporting import recording
from pipelines.reporting.job import ReportJob
from pipelines.reporting.run import report
from pipelines.reporting.strips import MOST_STRIPS, Recorder, Spectrogram, spans
from tagger.logmel import log_mel


@pytest.mark.parametrize("duration_s", [0.01, 5.0, 60.0, 61.0, 1_560.0, 7_201.0, 86_400.0])
def test_strips_cover_a_recording_of_any_length(duration_s):
    found = spans(duration_s)
    assert len(found) <= MOST_STRIPS
    assert found[0][0] == 0.0
    assert found[-1][0] < duration_s <= found[-1][1] or duration_s < 0.1
    assert all(before[1] == after[0] for before, after in pairwise(found))


def test_columns_are_the_highest_frames_of_the_whole_spectrogram():
    rate, seconds = 16_000, 130.0
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(rate * seconds))
    samples = samples.astype(np.float32)
    seen = Spectrogram(seconds, 0.5)
    seen.watch(np.array_split(samples, 37), rate)
    whole = log_mel(samples / np.float32(0.5))
    n = seen._n_columns
    places = ((np.arange(len(whole)) + 0.5) / 100 / 20.0 * n).astype(int)
    for place in (0, 1, 777, n, int(places[-1])):
        np.testing.assert_allclose(
            seen._columns[place], whole[places == place].max(axis=0), atol=1e-5
        )
    pictures = list(seen.pictures())
    assert len(pictures) == 7
    with Image.open(io.BytesIO(pictures[-1])) as image:
        assert image.size == (1200, 112)
        assert np.asarray(image.convert("L"))[:, 650:].min() > 250  # beyond the end


def test_stretches_are_heard_where_they_are():
    rate = 8_000
    samples = np.repeat(np.linspace(-1, 1, 60), rate).astype(np.float32)  # a level each second
    kept = []
    recorder = Recorder([(2.5, 4.0), (10.0, 30.0), (58.0, 70.0)], rate, 1.0, _keeping(kept))
    passed = list(recorder.pass_on(np.array_split(samples, 23)))
    np.testing.assert_array_equal(np.concatenate(passed), samples)
    assert [stretch[:2] for stretch in recorder.stretches] == [
        (2.5, 4.0),
        (10.0, 30.0),
        (58.0, 60.0),
    ]
    for stretch, data in zip(recorder.stretches, kept, strict=True):
        heard, hz = soundfile.read(io.BytesIO(data))
        assert len(heard) / hz == pytest.approx(stretch.end_s - stretch.start_s, abs=0.01)


def _keeping(kept):
    def keep(data, suffix):
        kept.append(data)
        return f"{len(kept)}{suffix}"

    return keep


@pytest.fixture
def one(archive, tmp_path):
    """Make the page of the long recording."""

    def make(name="one.html", clip="20240101_063000.flac"):
        path = archive.sounds / clip
        return report(
            ReportJob(
                tables=archive.tables,
                out=str(tmp_path / name),
                model=archive.model,
                clip=str(path),
            )
        )

    return make


def opened(visit, done):
    visit.page.goto(Path(done.page).as_uri())
    return visit.page


def test_a_player_that_follows(visit, one):
    page = opened(visit, one())
    assert page.locator(".strip").count() == 1
    assert page.locator("h1").inner_text() == "20240101_063000.flac"
    page.locator("#play").click()
    page.wait_for_function("() => Number(document.querySelector('.cursor').getAttribute('x1')) > 2")
    page.keyboard.press("Space")  # on the button
    page.wait_for_function("() => document.getElementById('player').paused")
    page.locator("h1").click()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.getElementById('player').currentTime > 5")
    assert float(page.locator(".cursor").get_attribute("x1")) > 1000 * 5 / 25
    box = page.locator(".strip .sound").bounding_box()
    page.mouse.click(box["x"] + 0.8 * box["width"], box["y"] + 10)
    assert page.locator("#time").inner_text() == "20.0 s"
    assert page.locator("#position").get_attribute("aria-valuetext") == "20.0 s"
    assert (visit.errors, visit.reached) == ([], [])


def test_tags_are_drawn_one_at_a_time_and_it_can_be_corrected(visit, one):
    page = opened(visit, one())
    groups = page.locator(".over g:not(.is-hidden)")
    assert groups.count() == 1
    page.locator("input[name=tag]").nth(1).check()
    assert groups.get_attribute("data-tag") == "1"
    lanes = page.locator(".lane")
    chosen = page.locator(".lane.is-chosen")
    assert chosen.count() == sum(
        lane == "1" for lane in lanes.evaluate_all("all => all.map(l => l.dataset.tag)")
    )
    page.locator("[data-answer=right]").click()
    assert "1 clip answered" in page.locator("#answered").inner_text()
    assert visit.errors == []


def test_of_a_long_one_the_stretches_with_the_highest_scores_are_heard(visit, one, monkeypatch):
    monkeypatch.setattr(recording, "MOST_SOUND_S", 9.0)
    done = one()
    page = opened(visit, done)
    stretches = page.evaluate("data.stretches.map(one => [one.start_s, one.end_s])")
    assert 0 < sum(end - start for start, end in stretches) <= 9.0
    assert "can be heard here" in page.locator(".player").inner_text()
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('player').currentTime > 0.05")
    assert page.evaluate("now") >= stretches[0][0]
    folder = opened(visit, one("folder"))
    assert folder.evaluate("data.stretches.map(one => [one.start_s, one.end_s])") == [[0, 25]]
    assert visit.errors == []


def test_a_recording_that_is_gone_still_has_its_events(visit, one):
    done = one(clip="gone.wav")
    page = opened(visit, done)
    assert done.n_problems == 1
    assert "Neither picture nor sound: vanished" in page.locator("header").inner_text()
    assert page.locator("#player").count() == 0
    assert page.locator(".over g path.score").first.get_attribute("d")
    assert visit.errors == []


def test_hostile_names_stay_names(visit, one):
    page = opened(visit, one(clip="<script>document.title = 'taken'</script>.wav"))
    assert page.locator("h1").inner_text() == "script>.wav"
    assert page.title() == "script>.wav"
    assert (
        "<script>document.title = 'taken'</script>.wav" in page.locator(".path").first.inner_text()
    )
    assert visit.errors == []
