"""The page as a person has it: in a Chromium, from the file system."""

import csv
import io
from itertools import pairwise

import pytest

from pipelines.reporting.job import ReportJob
from pipelines.reporting.run import report
from tests.support.tables import read_tables

COLUMNS = ["uri", "label", "answer", "tag", "score", "clip_id", "model_id"]


@pytest.fixture
def opened(visit, page):
    """The page, opened; what a test does to it must leave no error."""
    visit.page.goto(page.as_uri())
    yield visit.page
    assert (visit.errors, visit.reached) == ([], [])


def saved(page):
    """The corrections as they are downloaded."""
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename.startswith("corrections-tiny-")
    text = download.value.path().read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    return rows


def cards(page):
    return page.locator("article[data-clip-id]")


def test_it_opens_without_an_error_and_names_stay_names(opened, page):
    assert opened.title() == "out: 8 clips"
    assert opened.locator("script").count() == 2  # the page's own
    assert opened.locator("img[src=x], b script, h5 script").count() == 0
    titles = opened.locator("article h5").all_text_contents()
    assert '"><img src=x onerror="throw 1">.wav' in titles
    assert "exe.\\u202egnp.wav" in titles
    assert "line\\nbreak\\r\\t\\x1b[31m.wav" in titles
    assert "it's {{ 7 * 7 }}, %s & more.wav" in titles
    places = opened.locator("article h5").evaluate_all("all => all.map(one => one.title)")
    assert any("<script>document.title = 'taken'</script>.wav" in place for place in places)


def test_what_fails_and_what_is_gone_is_told(opened):
    assert "unsupported" in opened.locator(".failures").inner_text()
    assert "broken.wav" in opened.locator(".failures").inner_text()
    gone = cards(opened).filter(has_text="gone.wav").first
    assert "Neither picture nor sound: vanished, no such file" in gone.inner_text()
    assert gone.locator("audio").count() == 0


def test_an_excerpt_plays_to_its_end_and_one_at_a_time(opened):
    with_sound = opened.locator("article:has(audio)")
    first, second = with_sound.nth(0), with_sound.nth(1)
    lasting = first.locator("audio").evaluate(
        "a => new Promise(done => { a.onloadedmetadata = () => done(a.duration); a.load(); })"
    )
    assert lasting == pytest.approx(2.0, abs=0.05) or lasting == pytest.approx(8.0, abs=0.05)
    first.locator(".play").click()
    playing = "a => a.currentTime > 0.05 && !a.paused"
    opened.wait_for_function(playing, arg=first.locator("audio").element_handle())
    assert first.locator(".play").get_attribute("aria-pressed") == "true"
    assert float(first.locator(".cursor").get_attribute("x1")) > 0
    second.locator(".play").click()
    opened.wait_for_function(playing, arg=second.locator("audio").element_handle())
    assert first.locator("audio").evaluate("a => a.paused")
    assert first.locator(".play").get_attribute("aria-pressed") == "false"


def test_every_picture_is_decoded(opened):
    sizes = opened.locator("article img").evaluate_all(
        "all => Promise.all(all.map(i => { i.loading = 'eager'; return i.decode()"
        ".then(() => [i.naturalWidth, i.naturalHeight]); }))"
    )
    assert len(sizes) > 6
    assert {tuple(size) for size in sizes} == {(480, 160)}


def test_answers_are_saved_exactly_and_are_there_again(opened, archive):
    clips = {row["clip_id"]: row for row in read_tables(archive.tables)["clips"]}
    ids = cards(opened).evaluate_all("all => [...new Set(all.map(one => one.dataset.clipId))]")
    assert set(ids) == set(clips)
    for clip_id, kind in zip(ids, ["right", "wrong", "none", "other"], strict=False):
        opened.locator(f'[data-clip-id="{clip_id}"] [data-answer={kind}]').first.click()
    form = opened.locator(f'[data-clip-id="{ids[3]}"] form').first
    form.locator("input").fill('Owl, "tawny"')
    form.locator("input").press("Enter")
    assert "4 clips answered" in opened.locator("#answered").inner_text()

    rows = {row["clip_id"]: row for row in saved(opened)}
    assert {clip_id: row["uri"] for clip_id, row in rows.items()} == {
        clip_id: clips[clip_id]["uri"] for clip_id in ids[:4]
    }
    right, wrong, none, other = (rows[clip_id] for clip_id in ids[:4])
    assert (right["answer"], right["label"]) == ("right", right["tag"])
    assert (wrong["answer"], wrong["label"]) == ("wrong", "")
    assert (none["answer"], none["label"]) == ("none", "")
    assert (other["answer"], other["label"]) == ("other", 'Owl, "tawny"')
    assert right["model_id"] == clips[ids[0]]["model_id"]
    assert 0 < float(right["score"]) <= 1

    opened.reload()
    assert {row["clip_id"] for row in saved(opened)} == set(ids[:4])
    pressed = opened.locator(f'[data-clip-id="{ids[1]}"] [data-answer=wrong]').first
    assert pressed.get_attribute("aria-pressed") == "true"
    pressed.click()
    assert {row["clip_id"] for row in saved(opened)} == {ids[0], *ids[2:4]}


def test_a_clip_has_one_answer_unless_it_may_have_several(opened):
    clip_id = cards(opened).first.get_attribute("data-clip-id")
    clip = opened.locator(f'[data-clip-id="{clip_id}"]').first
    clip.locator("[data-label]").first.click()
    clip.locator("[data-answer=right]").click()
    (row,) = saved(opened)
    assert row["answer"] == "right"
    opened.locator("#several").check()
    clip.locator("[data-label]").first.click()
    both = saved(opened)
    assert {row["answer"] for row in both} == {"right", "other"}
    assert len({row["label"] for row in both}) == 2
    clip.locator("[data-answer=none]").click()
    assert [row["answer"] for row in saved(opened)] == ["none"]


def test_keys_play_answer_and_move(opened):
    first = opened.locator("article:has(audio)").first
    first.focus()
    opened.keyboard.press("Space")
    opened.wait_for_function("a => !a.paused", arg=first.locator("audio").element_handle())
    opened.keyboard.press("Space")
    opened.wait_for_function("a => a.paused", arg=first.locator("audio").element_handle())
    opened.keyboard.press("2")
    assert first.locator("[data-answer=wrong]").get_attribute("aria-pressed") == "true"
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.activeElement.tagName") == "ARTICLE"
    assert not first.evaluate("one => one === document.activeElement")
    opened.keyboard.press("ArrowLeft")
    assert first.evaluate("one => one === document.activeElement")
    opened.keyboard.press("3")
    opened.keyboard.type("=1+1")
    opened.keyboard.press("Enter")
    assert not first.locator("form").evaluate("form => form.checkValidity()")  # no formula
    opened.keyboard.press("Escape")
    opened.keyboard.press("4")
    assert [row["answer"] for row in saved(opened)] == ["none"]


def test_it_can_be_used_without_seeing_it(opened):
    snapshot = opened.locator("body").aria_snapshot()
    assert "- button:" not in snapshot.splitlines()  # each has a name
    unnamed = opened.evaluate(
        """() => [...document.querySelectorAll("button, input, a, img, svg[role], article")]
        .filter(one => !(one.getAttribute("aria-label") || one.textContent.trim() || one.alt
            || one.labels?.length || one.getAttribute("aria-labelledby"))).length"""
    )
    assert unnamed == 0
    levels = opened.locator("h1, h2, h3, h4, h5").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = opened.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len({*ids})
    assert opened.locator("[role=status][aria-live=polite]").count() == 1


def test_a_folder_plays_too(visit, archive, tmp_path):
    done = report(ReportJob(tables=archive.tables, out=str(tmp_path / "p"), model=archive.model))
    visit.page.goto((tmp_path / "p" / "index.html").as_uri())
    card = visit.page.locator("article:has(audio)").first
    card.locator(".play").click()
    visit.page.wait_for_function(
        "a => a.currentTime > 0.05", arg=card.locator("audio").element_handle()
    )
    assert card.locator("img").evaluate("i => i.decode().then(() => i.naturalWidth)") == 480
    assert done.n_bytes < 300_000
    assert (visit.errors, visit.reached) == ([], [])
