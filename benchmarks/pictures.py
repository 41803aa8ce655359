"""The pictures of the README: the page of an output, and that of one recording.

    python -m benchmarks.pictures

Recordings are made (``pipelines.demo``), one of them a minute long; they are tagged with the
bundled model, and what a browser shows of their pages is written to ``docs/``.
"""

import io
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser

from pipelines.demo.run import make_collection
from pipelines.demo.sounds import SOUNDS
from pipelines.reporting.job import ReportJob
from pipelines.reporting.run import report
from pipelines.tagging.job import TagJob
from pipelines.tagging.run import tag
from tests.support.browser import started, visit

DOCS: Final = Path(__file__).parents[1] / "docs"
WIDTH: Final = 1100
RATE_HZ: Final = 44_100
MINUTE: Final = ("rain", "rooster", "rain", "barking dog", "helicopter", "crying baby")
N_COLOURS: Final = 64  # of a picture, which is small then
DRAWN: Final = "all => Promise.all(all.map(one => { one.loading = 'eager'; return one.decode(); }))"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, started() as browser:
        sounds = make_collection(Path(folder, "sounds"))
        long = _a_minute(sounds / "a minute outside.flac")
        tables = str(Path(folder, "tables"))
        tag(TagJob(inputs=(str(sounds),), out=tables, max_failed=1.0), ["tag"])
        whole, single = (Path(folder, name) for name in ("page.html", "recording.html"))
        report(ReportJob(tables=tables, out=str(whole)))
        report(ReportJob(tables=tables, out=str(single), clip=str(long)))
        _take(browser, whole, ".gallery", 1000, DOCS / "page.png")
        _take(browser, single, "[aria-labelledby=over-time]", 700, DOCS / "recording.png")


def _a_minute(path: Path) -> Path:
    """Several sounds one after the other, with a little rain under all of them."""
    rng = np.random.default_rng(1)
    parts = [SOUNDS[name](10.0, RATE_HZ, rng) for name in MINUTE]
    sound = np.concatenate([part / np.abs(part).max() for part in parts])
    rain = SOUNDS["rain"](len(sound) / RATE_HZ, RATE_HZ, rng)[: len(sound)]
    sound += 0.02 * rain / np.abs(rain).max()
    soundfile.write(path, 0.5 * sound, RATE_HZ)
    return path


def _take(browser: Browser, page: Path, first: str, height: int, to: Path) -> None:
    """Write what a window shows of a page, from an element on."""
    with visit(browser, WIDTH, height) as seen:
        seen.page.goto(page.as_uri())
        seen.page.locator("img").evaluate_all(DRAWN)
        for _ in range(3):  # what comes into view takes its place, and moves what is below
            seen.page.locator(first).first.evaluate("one => one.scrollIntoView()")
            seen.page.wait_for_timeout(300)
        shot = Image.open(io.BytesIO(seen.page.screenshot()))
        assert not seen.errors, seen.errors
    shot.convert("RGB").quantize(N_COLOURS).save(to, optimize=True)


if __name__ == "__main__":
    main()
