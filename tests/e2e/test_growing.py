"""A job upon a cluster that has nothing yet: it says what it waits for, and uses what comes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, Done
from tests.support.ray_head import Head
from tests.support.sounds import write_sounds
from tests.support.tables import Tables, assert_same

pytestmark = pytest.mark.ray

OPTIONS = ("--precision", "float32")

TELL = """
import ray
from ray.core.generated import autoscaler_pb2
from pipelines.runtime import growth

ray.init(log_to_driver=False)
assert growth.most() is None, growth.most()
config = autoscaler_pb2.ClusterConfig()
for n_nodes, resources in ((3, {"CPU": 2}), (1, {"CPU": 8, "GPU": 2})):
    group = config.node_group_configs.add(max_count=n_nodes)
    for name, amount in resources.items():
        group.resources[name] = amount
gcs = ray._private.worker.global_worker.gcs_client
gcs.report_cluster_config(config.SerializeToString())
print(growth.most())
"""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head without CPUs, whose nodes somebody else starts, as KubeRay does."""
    head = Head(tmp_path_factory.mktemp("head"))
    try:
        head.start(0, "--no-monitor")
        yield head
    finally:
        head.stop()


@pytest.fixture
def sounds(tmp_path: Path) -> str:
    return str(write_sounds(tmp_path / "in", 20))


def test_nodes_that_do_not_come_end_the_job_with_a_code_of_its_own(
    empty: Head, sounds: str, tmp_path: Path, begin_tag: Callable[..., subprocess.Popen[str]]
) -> None:
    process = begin_tag(
        *(sounds, "--out", str(tmp_path / "out"), "--wait-for-nodes", "1"),
        *("--cpus", "3", "--gpus", "1"),
        **empty.env,
    )
    _, err = process.communicate()
    assert process.returncode == 8, err
    waiting, error = err.splitlines()[-2:]
    assert "waiting for nodes with 3 CPUs and 1 GPU, at most 1 s" in waiting
    assert "no node with a CPU joined the Ray cluster within 1 s" in error


def test_a_node_joins_a_job_that_waits(
    empty: Head,
    sounds: str,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
    tag_here: Callable[..., Done],
    tables: Callable[[str], Tables],
) -> None:
    """It had asked for two CPUs; what comes is one."""
    out, alone = str(tmp_path / "out"), str(tmp_path / "alone")
    process = begin_tag(sounds, "--out", out, "--cpus", "2", *OPTIONS, **empty.env)
    assert process.stderr is not None
    while "waiting for nodes with 2 CPUs" not in process.stderr.readline():
        assert process.poll() is None
    empty.add_node()
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert tag_here(sounds, "--out", alone, *OPTIONS).code == 0
    assert_same(tables(out), tables(alone))


def test_what_ray_is_told_that_a_cluster_may_become(
    empty: Head, sounds: str, tmp_path: Path, begin_tag: Callable[..., subprocess.Popen[str]]
) -> None:
    """Ray's private state gives it; and asking for more is refused at once."""
    done = subprocess.run(
        [sys.executable, "-c", TELL],
        cwd=ROOT,
        env={**os.environ, **empty.env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "14 CPUs and 2 GPUs\n", done.stderr
    process = begin_tag(sounds, "--out", str(tmp_path / "out"), "--cpus", "15", **empty.env)
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert "--cpus asks for 15, the Ray cluster offers 14 at most" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("flag", "told"), [("--cpus", "2 at most"), ("--gpus", "0 at most")], ids=["CPUs", "GPUs"]
)
def test_what_a_cluster_of_fixed_size_cannot_give_is_told_at_once(
    flag: str,
    told: str,
    head: Head,
    sounds: str,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    process = begin_tag(sounds, "--out", str(tmp_path / "out"), flag, "64", **head.env)
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert err.splitlines()[-1].endswith(f"{flag} asks for 64, the Ray cluster offers {told}")
