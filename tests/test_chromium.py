"""How the tests find a Chromium, and that it leaves nothing behind."""

import asyncio

import pytest

from tests.support import browser, chromium


def test_nothing_of_it_is_left_in_the_thread():
    async def one():
        return 1

    with browser.started():
        pass
    assert asyncio.run(one()) == 1


def test_a_name_without_a_program_behind_it_is_no_chromium(tmp_path, monkeypatch):
    real = chromium.find()
    stub = tmp_path / "chromium"
    stub.write_text("#!/bin/sh\necho 'install the snap' >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    assert real
    assert chromium.find() is None
    with pytest.raises(FileNotFoundError, match="Install the package chromium"), browser.started():
        pass
