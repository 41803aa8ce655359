"""The Chromium that pages are tested in: what it notices, and what it keeps apart."""

import pytest

QUIET = "<!doctype html><meta charset=utf-8><title>A page</title><p>Rain</p>"


@pytest.fixture
def opened(visit, tmp_path):
    """``opened(html)``: the visit, after it has opened a file of that text."""

    def open_page(html):
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        visit.page.goto(path.as_uri())
        return visit

    return open_page


def test_a_page_that_is_in_order(opened):
    seen = opened(QUIET)
    assert seen.page.title() == "A page"
    assert seen.page.locator("p").inner_text() == "Rain"
    assert (seen.errors, seen.reached) == ([], [])


def test_errors_are_seen(opened):
    seen = opened(
        f"{QUIET}<script>console.log('no error'); console.error('told')</script>"
        "<script>missing()</script><script>Promise.reject(new Error('lost'))</script>"
    )
    for _ in range(100):
        if len(seen.errors) == 3:
            break
        seen.page.wait_for_timeout(50)
    assert sorted(seen.errors) == ["lost", "missing is not defined", "told"]


def test_the_network_is_out_of_reach(opened):
    far = "http://192.0.2.1/sound.mp3"
    seen = opened(f"{QUIET}<img src=data:,><audio src={far} preload=auto></audio>")
    fetched = "fetch('http://127.0.0.1:9/').then(() => 'there', () => 'out of reach')"
    assert seen.page.evaluate(fetched) == "out of reach"
    assert seen.reached == [far, "http://127.0.0.1:9/"]
    assert seen.errors


def test_a_file_is_saved(opened):
    save = "<a download=answers.csv href='data:text/csv,uri,label'>Save</a>"
    seen = opened(QUIET + save)
    with seen.page.expect_download() as download:
        seen.page.get_by_text("Save").click()
    assert download.value.suggested_filename == "answers.csv"
    assert download.value.path().read_text() == "uri,label"


@pytest.mark.parametrize("visitor", ["first", "second"])
def test_storage_is_each_visitors_own(opened, visitor):
    seen = opened(QUIET)
    assert seen.page.evaluate("localStorage.getItem('kept')") is None
    seen.page.evaluate(f"localStorage.setItem('kept', '{visitor}')")
