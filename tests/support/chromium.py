"""The Chromium that tests of pages run: one that is installed, or one that is fetched for them.

``python -m tests.support.chromium``, which ``make test`` begins with, sees to it that there is one.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ABSENT = (
    "There is no Chromium, and neither apt-get nor Playwright could fetch one: the tests of pages "
    "will fail. Install the package chromium or google-chrome."
)


def find() -> str | None:
    """Find a Chromium that starts: an installed one first, then the one that Playwright fetched."""
    installed = filter(None, map(shutil.which, NAMES))
    return next(filter(_starts, chain(installed, _fetched())), None)


def _fetched() -> Iterator[str]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    yield from [path] if Path(path).exists() else []


def _starts(path: str) -> bool:
    """Whether it tells its version; what stands for a snap that is not installed does not."""
    done = subprocess.run([path, "--version"], capture_output=True, check=False)
    return done.returncode == 0


def _provide() -> str | None:
    """Find a Chromium, or fetch one: as a package of the system, else as Playwright does."""
    for command in _ways():
        if found := find():
            return found
        subprocess.run(command, capture_output=True, check=False)
    return find()


def _ways() -> Iterator[Sequence[str]]:
    """The commands that may bring a Chromium, the best first."""
    if shutil.which("apt-get") and (os.geteuid() == 0 or shutil.which("sudo")):
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        apt = [*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        yield [*apt, "update"]
        yield [*apt, "install", "--yes", "--no-install-recommends", "chromium"]
    yield [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]


if __name__ == "__main__":
    if not _provide():
        sys.stderr.write(f"{ABSENT}\n")
