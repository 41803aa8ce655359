"""A cluster that asks for a token says so in a line, before Ray is asked to join it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ray_head import Head

pytestmark = [pytest.mark.ray, pytest.mark.faults]

TOKEN = "a-token-of-more-than-thirty-two-characters"


@pytest.fixture(scope="module")
def head_with_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    node = Head(tmp_path_factory.mktemp("head"))
    try:
        node.start(1, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
        yield node
    finally:
        node.stop()


@pytest.mark.parametrize(
    "environment",
    [
        {"RAY_AUTH_MODE": "disabled"},
        {"RAY_AUTH_MODE": "token", "HOME": "/nowhere"},
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "another"},
    ],
    ids=["none asked for", "none found", "another"],
)
def test_a_job_without_the_token_is_refused(
    head_with_token: Head,
    environment: dict[str, str],
    begin_tag: Callable[..., Any],
    write_sound: Callable[..., Path],
    tmp_path: Path,
) -> None:
    sound = str(write_sound(tmp_path / "in" / "a.wav"))
    job = begin_tag(*(sound, "--out", str(tmp_path / "out")), **head_with_token.env, **environment)
    _, said = job.communicate(timeout=120)
    assert job.returncode == 2, said
    (line,) = said.splitlines()
    assert line.startswith(f"error: the Ray at RAY_ADDRESS={head_with_token.env['RAY_ADDRESS']}")
    assert "RAY_AUTH_MODE=token" in line


def test_the_token_lets_a_job_in(
    head_with_token: Head,
    begin_tag: Callable[..., Any],
    write_sound: Callable[..., Path],
    tmp_path: Path,
) -> None:
    sound = str(write_sound(tmp_path / "in" / "a.wav"))
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    job = begin_tag(sound, "--out", str(tmp_path / "out"), **head_with_token.env, **token)
    out, said = job.communicate(timeout=150)
    assert job.returncode == 0, said
    assert "complete: run " in out
