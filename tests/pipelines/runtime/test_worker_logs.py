"""Under ``--verbose`` a driver tells what this program says in Ray's workers, and nothing else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

JOB = """
import logging

logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
logging.getLogger("pipelines").setLevel(logging.INFO)

from pipelines.runtime import cluster
from pipelines.runtime.limits import Resources

cluster.connect(Resources(cpus=2))
import ray

@ray.remote
def work(i):
    import logging, sys, warnings
    logging.getLogger("pipelines.storage.retry").info("reading %d%%: trying again", i)
    logging.getLogger("tagger.audio").warning("found %s", "something")
    logging.getLogger("pipelines").debug("too much")
    logging.getLogger("another.package").warning("noise")
    warnings.warn("noise")
    print("noise", file=sys.stderr)

ray.get([work.remote(i) for i in range(3)])
"""


def test_a_verbose_driver_tells_what_our_loggers_say_in_workers():
    done = subprocess.run(
        [sys.executable, "-c", JOB],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = sorted(
        re.sub(r"worker \d+ on [^:]+", "worker", line) for line in done.stderr.split("\n")
    )
    retries = [
        f"INFO pipelines.storage.retry: worker: reading {i}%: trying again" for i in range(3)
    ]
    assert said == ["", *retries, *["WARNING tagger.audio: worker: found something"] * 3]
