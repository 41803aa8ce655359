"""For tests of whole jobs: the ``tag`` command with a tiny model, and a Ray of several nodes."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import Done, begin, carry_out
from tests.support.ray_head import Head
from tests.support.sounds import write_sound
from tests.support.tables import Tables, read_tables


@pytest.fixture(scope="session")
def tag(ray_cluster: str, tiny_model: Path) -> Callable[..., Done]:
    """``tag(*arguments)``: the verb with the tiny model, in this process, on the shared Ray."""

    def run(*arguments: str) -> Done:
        return carry_out("tag", "--model", str(tiny_model), "--cpus", "2", *arguments)

    return run


@pytest.fixture(scope="session")
def tag_here(tiny_model: Path) -> Callable[..., Done]:
    """``tag_here(*arguments)``: the verb with the tiny model, in this process alone."""

    def run(*arguments: str) -> Done:
        return carry_out("tag", "--model", str(tiny_model), *arguments)

    return run


@pytest.fixture
def begin_tag(tiny_model: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``begin_tag(*arguments, **environment)``: the verb in a process of its own."""
    begun: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        begun.append(begin("tag", "--model", str(tiny_model), *arguments, **environment))
        return begun[-1]

    yield run
    for process in begun:  # of a test that failed
        with process:
            process.kill()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray head in processes of its own, with two logical CPUs and a dashboard."""
    node = Head(tmp_path_factory.mktemp("head"))
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session", name="write_sound")
def _write_sound() -> Callable[..., Path]:
    """See ``tests.support.sounds``."""
    return write_sound


@pytest.fixture(scope="session")
def tables() -> Callable[[str], Tables]:
    """See ``tests.support.tables``."""
    return read_tables
