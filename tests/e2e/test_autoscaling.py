"""A job that begins on a cluster without nodes, which Ray's autoscaler starts and ends."""

import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.storage.store import open_store
from tests.support.autoscaler import IDLE_S, AutoscaledHead, configuration
from tests.support.commands import Done
from tests.support.processes import raylets
from tests.support.sounds import write_sound
from tests.support.tables import Tables, assert_same, read_tables

pytestmark = [pytest.mark.ray, pytest.mark.faults]

N_CLIPS = 120
OPTIONS = ("--precision", "float32")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Some batches of work, one clip bad."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(N_CLIPS):
        write_sound(folder / f"{i:03d}.wav", seconds=10.0 + i % 3, rate=22_050, seed=i)
    (folder / "bad.wav").write_bytes(b"bad")
    return str(folder)


@pytest.fixture(scope="module")
def expected(
    sounds: str, tmp_path_factory: pytest.TempPathFactory, tag_here: Callable[..., Done]
) -> Tables:
    """The tables of a run in one process."""
    out = str(tmp_path_factory.mktemp("alone"))
    assert tag_here(sounds, "--out", out, *OPTIONS).code == 0
    return read_tables(out)


@pytest.fixture(scope="module")
def head() -> Iterator[AutoscaledHead]:
    """From zero to two workers with a CPU and one with a GPU in name."""
    head = AutoscaledHead(configuration(cpu=2, gpu=1))
    try:
        head.start()
        yield head
    finally:
        head.stop()


def wait_until(done: Callable[[], bool], patience_s: float) -> None:
    give_up = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < give_up, "not in time"
        time.sleep(0.3)


def most_workers(head: AutoscaledHead, process: subprocess.Popen[str]) -> int:
    """As many as there were at once until the process ended."""
    most = 0
    while process.poll() is None:
        most = max(most, head.n_workers())
        time.sleep(0.3)
    return most


def test_the_plain_command_starts_on_a_cluster_without_nodes(
    head: AutoscaledHead,
    sounds: str,
    expected: Tables,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    assert head.n_workers() == 0
    process = begin_tag(sounds, "--out", str(tmp_path / "out"), "--json", *OPTIONS, **head.env)
    n_workers = most_workers(head, process)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "waiting for nodes with 1 CPU and 1 GPU" in err
    assert n_workers >= 1
    assert_same(read_tables(str(tmp_path / "out")), expected)
    wait_until(lambda: head.n_workers() == 0, 12 * IDLE_S)


def test_flags_are_requests_and_a_node_that_leaves_is_replaced(
    head: AutoscaledHead,
    sounds: str,
    expected: Tables,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    out = str(tmp_path / "out")
    flags = ("--cpus", "2", "--gpus", "0")
    process = begin_tag(sounds, "--out", out, *flags, *OPTIONS, **head.env)
    wait_until(lambda: head.n_workers() == 2 or process.poll() is not None, 120)
    while not open_store(out).list("_staging"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    workers = [each for each in raylets(head.family()) if "--head" not in each.cmdline()]
    random.Random(0).choice(workers).kill()
    assert process.poll() is None, "the job is over: nothing was disturbed"
    wait_until(lambda: head.n_workers() >= 2 or process.poll() is not None, 120)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_same(read_tables(out), expected)
    wait_until(lambda: head.n_workers() == 0, 12 * IDLE_S)


def test_more_than_the_configuration_allows_is_refused_at_once(
    head: AutoscaledHead,
    sounds: str,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    process = begin_tag(sounds, "--out", str(tmp_path / "out"), "--gpus", "2", **head.env)
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert "--gpus asks for 2, the Ray cluster offers 1 at most" in err.splitlines()[-1]
