"""Pages as people see them: a headless Chromium that reaches files only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

from tests.support import chromium

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
OFFLINE = {"file", "data", "blob", "about"}
"""The schemes of what a page may load."""


@dataclass
class Visit:
    """A page in a window of its own, and what went wrong in it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    """Errors of the console, and exceptions that nothing caught."""
    reached: list[str] = field(default_factory=list)
    """URLs beyond this machine's files that the page asked for; it got none."""

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def _on_request(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in OFFLINE:
            self.reached.append(request.url)


@contextmanager
def started() -> Iterator[Browser]:
    """Start a Chromium with an empty profile; it ends with the context.

    Raises
    ------
    FileNotFoundError : there is none on this machine
    """
    found = chromium.find()
    if found is None:
        raise FileNotFoundError(chromium.ABSENT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, headless=True, args=list(ARGUMENTS)
        )
        with browser:
            yield browser


@contextmanager
def visit(browser: Browser, width: int = 1280, height: int = 900) -> Iterator[Visit]:
    """Open an empty page with storage of its own, without a network; downloads are accepted."""
    size: ViewportSize = {"width": width, "height": height}
    with browser.new_context(accept_downloads=True, offline=True, viewport=size) as context:
        seen = Visit(context.new_page())
        context.on("console", seen._on_console)
        context.on("weberror", lambda error: seen.errors.append(str(error.error)))
        context.on("request", seen._on_request)
        seen.page.on("websocket", lambda socket: seen.reached.append(socket.url))
        yield seen
