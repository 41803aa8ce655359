"""Processes and servers killed at random moments; nothing may be lost, nothing doubled.

Every kill has a seed, which decides its moment. ``KILLS=20`` tries each fault at twenty moments;
``KILL_SEED=7`` begins with the seventh.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from pipelines.output.status import status
from pipelines.storage.filesystems import filesystem
from pipelines.storage.store import open_store

pytestmark = pytest.mark.ray

FIRST_SEED = int(os.environ.get("KILL_SEED", 0))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("KILLS", 1)))

N_CLIPS = 240
N_BAD = 2
AWAY_S = 20.0
Tables = dict[str, list[dict[str, Any]]]
OPTIONS = ("--precision", "float32")


@pytest.fixture(params=SEEDS)
def moment(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.param)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, write_sound: Callable[..., Path]) -> Path:
    """A folder of short clips, ten batches of work, two of them bad."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(N_CLIPS):
        write_sound(folder / f"{i:03d}.wav", seconds=1.0 + i % 3, rate=22_050, seed=i)
    for i in range(N_BAD):
        (folder / f"bad {i}.wav").write_bytes(b"bad" * i)
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    many: Path,
    tmp_path_factory: pytest.TempPathFactory,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
) -> Tables:
    """The tables of a run that nothing disturbed."""
    out = str(tmp_path_factory.mktemp("undisturbed"))
    assert tag(str(many), "--out", out, *OPTIONS).code == 0
    return tables(out)


def by_name(found: Tables) -> dict[str, Any]:
    """What each file of the collection came to, wherever it and the output lie."""
    names = {row["clip_id"]: Path(row["uri"]).name for row in found["clips"]}
    assert len(set(names.values())) == len(names) == len(found["clips"]), "a clip twice"
    came_to: dict[str, Any] = {name: {"tags": {}, "embeddings": {}} for name in names.values()}
    for row in found["tags"]:
        came_to[names[row["clip_id"]]]["tags"].setdefault((row["rank"], row["tag"]), []).append(
            row["score"]
        )
    for row in found["embeddings"]:
        place = row["extractor"], row["segment"], round(row["start_s"], 6)
        came_to[names[row["clip_id"]]]["embeddings"].setdefault(place, []).append(row["embedding"])
    return came_to


def assert_same(found: Tables, expected: Tables) -> None:
    """Every clip once, with exactly its tags and embeddings, and the failures."""
    after, before = by_name(found), by_name(expected)
    assert set(after) == set(before)
    for name, wanted in before.items():
        for table in ("tags", "embeddings"):
            assert set(after[name][table]) == set(wanted[table]), (name, table)
            for place, values in wanted[table].items():
                np.testing.assert_allclose(after[name][table][place], values, atol=1e-5)
    failed = Counter((Path(row["uri"]).name, row["reason"]) for row in found["failures"])
    assert failed == Counter((Path(r["uri"]).name, r["reason"]) for r in expected["failures"])


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread while the block runs; its failure fails the test."""
    failures: list[BaseException] = []

    def guarded() -> None:
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


def workers() -> list[psutil.Process]:
    """The actors of the job that runs on the shared Ray."""
    family = psutil.Process().children(recursive=True)
    return [p for p in family if "MapWorker" in title(p)]


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def kill_one(find: Callable[[], list[psutil.Process]], delay_s: float, out: str) -> None:
    """Kill one of what ``find`` finds, so long after the first of them is there."""
    await_any(find)
    time.sleep(delay_s)
    await_any(find)[0].kill()
    assert_at_work(out)


def await_any(find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    give_up = time.monotonic() + 60
    while not (found := find()):
        assert time.monotonic() < give_up, "nothing to kill"
        time.sleep(0.02)
    return found


def assert_at_work(out: str) -> None:
    """The job has batches before it: an entry of so few clips is made when the last one is done."""
    assert open_store(out).list("_log") == [], "the job is over: nothing was disturbed"


def decoders() -> list[psutil.Process]:
    below = [child for worker in workers() for child in worker.children()]
    return [p for p in below if "isolation_child" in title(p)]


@pytest.mark.parametrize(
    ("victims", "n_kills"), [(decoders, 1), (workers, 2)], ids=["decoding child", "actor"]
)
def test_a_killed_worker_process_costs_nothing(
    victims: Callable[[], list[psutil.Process]],
    n_kills: int,  # a recording that kills its decoder twice has failed
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
) -> None:
    out = str(tmp_path / "out")
    delays = [moment.uniform(0, 0.7) for _ in range(n_kills)]
    with meanwhile(lambda: [kill_one(victims, delay, out) for delay in delays][:0]):
        done = tag(str(many), "--out", out, *OPTIONS)
    assert done.code == 0, done.err
    assert_same(tables(out), undisturbed)


@pytest.mark.s3
def test_a_store_that_is_away_for_twenty_seconds_is_waited_for(
    moment: random.Random,
    many: Path,
    s3: Any,
    undisturbed: Tables,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
) -> None:
    where, out = s3.new_prefix(), s3.new_prefix()
    filesystem(where).put(f"{many}/", f"{where}/".removeprefix("s3://"), recursive=True)

    def interrupt_the_server() -> None:
        await_any(decoders)
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
    assert_same(tables(out), undisturbed)


def test_a_killed_driver_leaves_no_worker_and_the_next_run_completes_its_work(
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    begin_tag: Callable[..., subprocess.Popen[str]],
    family: Callable[[int], set[psutil.Process]],
) -> None:
    out = str(tmp_path / "out")
    process = begin_tag(str(many), "--out", out, *OPTIONS)
    wait_for_staged(process, out)
    time.sleep(moment.uniform(0, 0.7))
    seen = {each: title(each) for each in family(process.pid)}
    assert_at_work(out)
    process.kill()
    process.communicate()
    assert_gone(seen)
    assert [run["state"] for run in status(open_store(out)).runs] == ["killed"]
    n_staged = len(open_store(out).list("_staging"))
    done = tag(str(many), "--out", out, "--json", *OPTIONS)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert n_staged >= 1
    assert record["n_recovered_entries"] >= 1, "nothing done is done again"
    assert_same(tables(out), undisturbed)


def assert_gone(processes: dict[psutil.Process, str]) -> None:
    """No worker, raylet or decoding process stays behind.

    Two agents of a raylet that ended with its driver look for the rest of Ray for a minute.
    """
    agents = [process for process, what in processes.items() if "agent" in what.lower()]
    _, alive = psutil.wait_procs(processes.keys() - set(agents), timeout=20)
    assert alive == []
    for agent in agents:
        with suppress(psutil.NoSuchProcess):
            agent.kill()


def wait_for_staged(process: subprocess.Popen[str], out: str) -> None:
    """Return when the first batch is done."""
    store = open_store(out)
    while not store.list("_staging"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize(("at_work", "number"), [(True, signal.SIGTERM), (False, signal.SIGINT)])
def test_a_signal_ends_the_job_in_good_order_within_two_seconds(
    at_work: bool,
    number: signal.Signals,
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    begin_tag: Callable[..., subprocess.Popen[str]],
    family: Callable[[int], set[psutil.Process]],
) -> None:
    store = open_store(str(tmp_path / "out"))
    process = begin_tag(str(many), "--out", store.root, *OPTIONS)
    if at_work:
        wait_for_staged(process, store.root)
    while not store.list("_runs"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(moment.uniform(0, 0.3 if at_work else 4.0))
    seen = {each: title(each) for each in family(process.pid)}
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


def test_a_killed_raylet_takes_nothing_with_it(
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    head: Any,
    tables: Callable[[str], Tables],
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    nodes = [head.start(f"--address=127.0.0.1:{head.port}", "--num-cpus=1") for _ in range(2)]
    out = str(tmp_path / "out")
    victim = moment.choice(nodes)
    process = begin_tag(str(many), "--out", out, *OPTIONS, **head.env)
    await_any(lambda: [p for p in victim.children() if "MapWorker" in title(p)])
    time.sleep(moment.uniform(0, 0.5))
    victim.kill()
    assert_at_work(out)
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert_same(tables(out), undisturbed)


@pytest.fixture(scope="module")
def gpu_node(head: Any) -> psutil.Process:
    """A node of the head that offers a GPU in name; torch computes with its CPU."""
    return head.start(f"--address=127.0.0.1:{head.port}", "--num-cpus=1", "--num-gpus=1")


@pytest.mark.parametrize("operator", ["MapBatches(preprocess)", "MapWorker(MapBatches(TagOnGpu))"])
def test_a_killed_worker_of_the_gpu_plan_costs_nothing(
    operator: str,
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    head: Any,
    gpu_node: psutil.Process,
    tables: Callable[[str], Tables],
    begin_tag: Callable[..., subprocess.Popen[str]],
    family: Callable[[int], set[psutil.Process]],
) -> None:
    def victims() -> list[psutil.Process]:
        nodes = [each for process in head.processes for each in family(process.pid)]
        return [each for each in nodes if title(each).startswith(f"ray::{operator}")]

    out = str(tmp_path / "out")
    process = begin_tag(str(many), "--out", out, *OPTIONS, **head.env)
    kill_one(victims, moment.uniform(0, 0.5), out)
    assert process.poll() is None
    _, err = process.communicate(timeout=150)
    assert process.returncode == 0, err
    assert_same(tables(out), undisturbed)


def test_of_two_jobs_at_once_the_second_is_refused(
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    ray_cluster: str,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
    out = str(tmp_path / "out")
    first = begin_tag(str(many), "--out", out, *OPTIONS, RAY_ADDRESS=ray_cluster)
    while not open_store(out).list("_lock"):
        time.sleep(0.05)
    second = tag(str(many), "--out", out, *OPTIONS)
    assert second.code == 2
    assert "another job (run " in second.err
    assert second.err.count("\n") == 1
    _, err = first.communicate(timeout=150)
    assert first.returncode == 0, err
    assert_same(tables(out), undisturbed)


def test_a_job_that_comes_back_from_the_dead_doubles_nothing(
    moment: random.Random,
    many: Path,
    tmp_path: Path,
    undisturbed: Tables,
    ray_cluster: str,
    tag: Callable[..., Any],
    tables: Callable[[str], Tables],
    begin_tag: Callable[..., subprocess.Popen[str]],
) -> None:
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
    _, err = zombie.communicate(timeout=150)
    assert zombie.returncode == 0, err
    found = tables(out)
    attempts = {(row["clip_id"], row["run_id"]) for row in found["failures"]}
    assert len(attempts) == len(found["failures"]), "an attempt of a run twice"
    last = {row["clip_id"]: row for row in found["failures"]}  # both runs may have tried a clip
    assert_same(found | {"failures": [*last.values()]}, undisturbed)
    told = status(store, verify=True)
    assert [run["state"] for run in told.runs] == ["complete", "complete"]
    (model,) = told.models
    assert (model.broken, model.n_staged, model.n_unpublished) == ((), 0, 0)
