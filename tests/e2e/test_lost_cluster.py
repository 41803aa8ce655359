"""A job whose cluster is killed under it says so, and the same command goes on with the rest."""

import json

import pytest

from pipelines.storage.store import open_store
from tests.support.processes import below
from tests.support.sounds import write_sounds
from tests.support.tables import read_tables

pytestmark = [pytest.mark.ray, pytest.mark.faults]

N_CLIPS = 60
OPTIONS = ("--precision", "float32", "--cpus", "2")
GCS_AWAY = {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}  # Ray's own patience is a minute


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"), N_CLIPS, 60.0)  # batches of two


def kill_at_work(process, out, parent, name):
    """Kill a process of Ray's when the first batch is done, so that others are under way."""
    while not open_store(out).list("_staging"):
        assert process.poll() is None, process.communicate()
    (victim,) = (each for each in below(parent) if each.name().startswith(name))
    victim.kill()


def assert_told(process, out):
    """One line on the terminal, and the same in the record of the run."""
    _, err = process.communicate()
    assert process.returncode == 7, err
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "start the same command again" in last
    store = open_store(out)
    (record,) = (json.loads(store.read(path)) for path in store.list("_runs"))
    assert record["state"] == "failed"
    assert last.startswith(f"error: {record['error']}")  # and where Ray's logs are
    assert store.list("_lock") == []


def test_the_raylet_of_a_ray_of_its_own(sounds, tmp_path, begin_tag):
    out = str(tmp_path / "out")
    process = begin_tag(str(sounds), "--out", out, *OPTIONS)
    kill_at_work(process, out, process.pid, "raylet")
    assert_told(process, out)
    again = begin_tag(str(sounds), "--out", out, "--json", *OPTIONS)
    said, err = again.communicate()
    assert again.returncode == 0, err
    assert json.loads(said)["n_done_before"] >= 1
    uris = [row["uri"] for row in read_tables(out)["clips"]]
    assert len(uris) == len(set(uris)) == N_CLIPS


def test_a_raylet_that_dies_while_ray_starts(sounds, tmp_path, begin_tag):
    out = str(tmp_path / "out")
    process = begin_tag(str(sounds), "--out", out, *OPTIONS)
    while not (raylets := [each for each in below(process.pid) if each.name() == "raylet"]):
        assert process.poll() is None, process.communicate()
    raylets[0].kill()
    assert_told(process, out)


def test_the_gcs_of_a_ray_of_its_own(sounds, tmp_path, begin_tag):
    out = str(tmp_path / "out")
    process = begin_tag(str(sounds), "--out", out, *OPTIONS, **GCS_AWAY)
    kill_at_work(process, out, process.pid, "gcs_server")
    assert_told(process, out)


def test_the_head_of_a_cluster_that_was_joined(sounds, tmp_path, head, begin_tag):
    out = str(tmp_path / "out")
    process = begin_tag(str(sounds), "--out", out, *OPTIONS, **head.env, **GCS_AWAY)
    kill_at_work(process, out, head.processes[0].pid, "gcs_server")
    assert_told(process, out)
