"""Streams that are closed or full, or that nobody reads, harm nothing that a job does."""

import subprocess
import sys
from pathlib import Path

import pytest

CLOSED, READER_LEFT, FULL = "2>&-", "2> >(true)", "2> /dev/full"
STREAMS = pytest.mark.parametrize(
    "redirection", [CLOSED, READER_LEFT, FULL], ids=["closed", "reader left", "full"]
)

SAYS = """
import logging, os, time
from pipelines.runtime import standard_streams
from pipelines.runtime.progress import Progress
standard_streams.open_if_closed()
time.sleep(0.2)
with Progress("tagging", "clips", 1, interval_s=1e-3):
    time.sleep(0.1)
logging.basicConfig(force=True)
logging.warning("more")
os.write(2, b"as a library does")
with open(os.devnull) as file:
    assert file.fileno() > 2
print("done")
standard_streams.flush()
"""


def bash(command):
    return subprocess.run(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )


@STREAMS
def test_whatever_says_something_harms_nothing(redirection):
    done = bash(f"{sys.executable} -c '{SAYS}' {redirection}")
    assert (done.returncode, done.stdout) == (0, "done\n")


@STREAMS
def test_a_command_that_cannot_be_carried_out_has_its_exit_code(redirection):
    done = bash(f"{sys.executable} -m pipelines tag /no/such/file --out /tmp/x {redirection}")
    assert done.returncode == 2
