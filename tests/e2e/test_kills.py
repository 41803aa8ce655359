"""Processes and servers killed at random moments; nothing may be lost, nothing doubled.

Every kill has a seed, which decides its moment. ``KILLS=20`` tries each fault at twenty moments;
``KILL_SEED=7`` begins with the seventh.
"""

import json
import os
import random
import signal
import threading
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from pipelines.output.status import status
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import open_store
from tests.support.processes import actors, below, decoders, title, wait_for
from tests.support.sounds import write_sound
from tests.support.tables import assert_same, read_tables

pytestmark = pytest.mark.ray
faults = pytest.mark.faults  # on all but the one kill that belongs to every run of the tests

FIRST_SEED = int(os.environ.get("KILL_SEED", 0))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("KILLS", 1)))

N_CLIPS = 240
N_BAD = 2
AWAY_S = 5.0  # of the S3 server; the soak tries up to 20
OPTIONS = ("--precision", "float32")
A_RAY_OF_ITS_OWN = ("--cpus", "2")  # which such a small job would not start


@pytest.fixture(params=SEEDS)
def moment(request):
    return random.Random(request.param)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A folder of short clips, ten batches of work, two of them bad."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(N_CLIPS):
        write_sound(folder / f"{i:03d}.wav", seconds=1.0 + i % 3, rate=22_050, seed=i)
    for i in range(N_BAD):
        (folder / f"bad {i}.wav").write_bytes(b"bad" * i)
    return folder


@pytest.fixture(scope="module")
def undisturbed(many, tmp_path_factory, tag_here):
    """The tables of a run that nothing disturbed."""
    out = str(tmp_path_factory.mktemp("undisturbed"))
    assert tag_here(str(many), "--out", out, *OPTIONS).code == 0
    return read_tables(out)


@contextmanager
def meanwhile(action):
    """Do something in another thread while the block runs; its failure fails the test."""
    failures = []

    def guarded():
        try:
            action()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    assert not thread.is_alive()
    assert not failures, failures


def of_the_job(kind):
    """Find processes of a kind below this one: those of the job on the shared Ray."""
    return lambda: kind(below(os.getpid()))


def of_the_workers(kind):
    """Find processes of a kind below the actors of the job on the shared Ray."""
    return lambda: [each for actor in of_the_job(actors)() for each in kind(below(actor.pid))]


def kill_one(find, delay_s, out):
    """Kill one of what ``find`` finds, so long after the first of them is there."""
    wait_for(find)
    time.sleep(delay_s)
    wait_for(find)[0].kill()
    assert_at_work(out)


def assert_at_work(out):
    """The job has batches before it: an entry of so few clips is made when the last one is done."""
    assert open_store(out).list("_log") == [], "the job is over: nothing was disturbed"


@faults
@pytest.mark.parametrize(
    ("victims", "n_kills"),
    [(of_the_workers(decoders), 1), (of_the_job(actors), 2)],
    ids=["decoding child", "actor"],
)
def test_a_killed_worker_process_costs_nothing(
    victims, n_kills, moment, many, tmp_path, undisturbed, tag
):
    """One decoding child only: a recording that kills its decoder twice has failed."""
    out = str(tmp_path / "out")
    delays = [moment.uniform(0, 0.7) for _ in range(n_kills)]

    def kill_them():
        for delay_s in delays:
            kill_one(victims, delay_s, out)

    with meanwhile(kill_them):
        done = tag(str(many), "--out", out, *OPTIONS)
    assert done.code == 0, done.err
    assert_same(read_tables(out), undisturbed)


@faults
@pytest.mark.s3
def test_a_store_that_is_away_for_some_seconds_is_waited_for(moment, many, s3, undisturbed, tag):
    where, out = s3.new_prefix(), s3.new_prefix()
    filesystem(where).put(f"{many}/", f"{where}/".removeprefix("s3://"), recursive=True)

    def interrupt_the_server():
        wait_for(of_the_workers(decoders))
        time.sleep(moment.uniform(0, 1))
        assert_at_work(out)
        s3.kill()
        time.sleep(AWAY_S)
        s3.start()
        assert_at_work(out)

    with meanwhile(interrupt_the_server):
        done = tag(where, "--out", out, "--json", *OPTIONS)
    assert done.code == 0, done.err
    assert json.loads(done.out)["n_retries"] >= 1
    assert_same(read_tables(out), undisturbed)


@pytest.mark.parametrize(
    "how",
    [(), pytest.param(A_RAY_OF_ITS_OWN, marks=faults)],
    ids=["in one process", "on Ray"],
)
def test_a_killed_driver_leaves_no_worker_and_the_next_run_completes_its_work(
    how, moment, many, tmp_path, undisturbed, tag, tag_here, begin_tag
):
    out = str(tmp_path / "out")
    process = begin_tag(str(many), "--out", out, *OPTIONS, *how)
    wait_for_staged(process, out)
    time.sleep(moment.uniform(0, 0.7))
    seen = {each: title(each) for each in below(process.pid)}
    assert_at_work(out)
    process.kill()
    process.communicate()
    assert_gone(seen)
    assert [run["state"] for run in status(open_store(out)).runs] == ["killed"]
    n_staged = len(open_store(out).list("_staging"))
    done = (tag if how else tag_here)(str(many), "--out", out, "--json", *OPTIONS)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert n_staged >= 1
    assert record["n_recovered_entries"] >= 1, "nothing done is done again"
    assert_same(read_tables(out), undisturbed)


def assert_gone(processes):
    """No worker, raylet or decoding process stays behind.

    Two agents of a raylet that ended with its driver look for the rest of Ray for a minute.
    """
    agents = [process for process, what in processes.items() if "agent" in what.lower()]
    _, alive = psutil.wait_procs(processes.keys() - set(agents), timeout=20)
    assert alive == []
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()


def wait_for_staged(process, out):
    """Return when the first batch is done."""
    store = open_store(out)
    while not store.list("_staging"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@faults
@pytest.mark.parametrize(
    ("how", "at_work", "number"),
    [
        (A_RAY_OF_ITS_OWN, True, signal.SIGTERM),
        (A_RAY_OF_ITS_OWN, False, signal.SIGINT),
        ((), True, signal.SIGTERM),
    ],
    ids=["at work on Ray", "on the way to it", "at work in one process"],
)
def test_a_signal_ends_the_job_in_good_order_within_two_seconds(
    how, at_work, number, moment, many, tmp_path, begin_tag
):
    store = open_store(str(tmp_path / "out"))
    process = begin_tag(str(many), "--out", store.root, *OPTIONS, *how)
    if at_work:
        wait_for_staged(process, store.root)
    while not store.list("_runs"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(moment.uniform(0, 0.3 if at_work else 4.0))
    seen = {each: title(each) for each in below(process.pid)}
    start = time.monotonic()
    process.send_signal(number)
    process.wait(timeout=30)
    took_s = time.monotonic() - start
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    assert took_s < 2.0
    (path,) = store.list("_runs")
    assert json.loads(store.read(path))["state"] == "interrupted"
    assert store.list("_lock") == []
    assert err.splitlines()[-1] == f"error: ended by {number.name}"
    assert_gone(seen)


@faults
def test_a_killed_raylet_takes_nothing_with_it(
    moment, many, tmp_path, undisturbed, head, begin_tag
):
    nodes = [head.add_node() for _ in range(2)]
    out = str(tmp_path / "out")
    victim = moment.choice(nodes)
    process = begin_tag(str(many), "--out", out, *OPTIONS, **head.env)
    wait_for(lambda: actors(set(victim.children())))
    time.sleep(moment.uniform(0, 0.5))
    victim.kill()
    assert_at_work(out)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_same(read_tables(out), undisturbed)


@pytest.fixture(scope="module")
def gpu_node(head):
    """A node of the head that offers a GPU in name; torch computes with its CPU."""
    return head.add_node("--num-gpus=1")


@faults
@pytest.mark.parametrize("operator", ["MapBatches(preprocess)", "MapWorker(MapBatches(TagOnGpu))"])
def test_a_killed_worker_of_the_gpu_plan_costs_nothing(
    operator, moment, many, tmp_path, undisturbed, head, gpu_node, begin_tag
):
    def victims():
        return [each for each in head.family() if title(each).startswith(f"ray::{operator}")]

    out = str(tmp_path / "out")
    process = begin_tag(str(many), "--out", out, *OPTIONS, **head.env)
    kill_one(victims, moment.uniform(0, 0.5), out)
    assert process.poll() is None
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert_same(read_tables(out), undisturbed)


@faults
def test_of_two_jobs_at_once_the_second_is_refused(
    many, tmp_path, undisturbed, ray_cluster, tag, begin_tag
):
    out = str(tmp_path / "out")
    first = begin_tag(str(many), "--out", out, *OPTIONS, RAY_ADDRESS=ray_cluster)
    while not open_store(out).list("_lock"):
        time.sleep(0.05)
    second = tag(str(many), "--out", out, *OPTIONS)
    assert second.code == 2
    assert "another job (run " in second.err
    assert second.err.count("\n") == 1
    _, err = first.communicate()
    assert first.returncode == 0, err
    assert_same(read_tables(out), undisturbed)


@faults
def test_a_job_that_comes_back_from_the_dead_doubles_nothing(
    moment, many, tmp_path, undisturbed, ray_cluster, tag, begin_tag
):
    """Its driver is stopped, its lock removed by hand; its workers go on staging meanwhile."""
    out = str(tmp_path / "out")
    store = open_store(out)
    options = (str(many), "--out", out, "--cpus", "2", *OPTIONS)
    zombie = begin_tag(*options, RAY_ADDRESS=ray_cluster)
    wait_for_staged(zombie, out)
    time.sleep(moment.uniform(0, 0.5))
    zombie.send_signal(signal.SIGSTOP)
    assert_at_work(out)
    try:
        store.remove(store.list("_lock"))
        done = tag(*options)
    finally:
        zombie.send_signal(signal.SIGCONT)
    assert done.code == 0, done.err
    _, err = zombie.communicate()
    assert zombie.returncode == 0, err
    found = read_tables(out)
    attempts = {(row["clip_id"], row["run_id"]) for row in found["failures"]}
    assert len(attempts) == len(found["failures"]), "an attempt of a run twice"
    last = {row["clip_id"]: row for row in found["failures"]}  # both runs may have tried a clip
    assert_same(found | {"failures": [*last.values()]}, undisturbed)
    told = status(store, verify="bytes")
    assert [run["state"] for run in told.runs] == ["complete", "complete"]
    (model,) = told.models
    assert (model.broken, model.n_staged, model.n_unpublished) == ((), 0, 0)
