"""A process whose cluster goes away ends in good order; one whose cluster comes back goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import socket, sys, threading, time
from pipelines.runtime.liveness import Part, watched
from pipelines.runtime.signals import when_interrupted

server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
part = Part("the raylet", f"127.0.0.1:{port}", patience_s=float(sys.argv[1]))
"""

LOST = """
with when_interrupted(lambda end: print(f"noted: {end}", flush=True)), watched([part]):
    server.close()
    threading.Event().wait()
"""

FAILING_LAST_WORDS = """
import pipelines.runtime.liveness as liveness
liveness.LAST_WORDS_S = 0.1
with when_interrupted(lambda end: threading.Event().wait()), watched([part]):
    server.close()
    threading.Event().wait()
"""

BACK = """
with watched([part]):
    server.close()
    time.sleep(1.0)
    server = socket.create_server(("127.0.0.1", port))
    time.sleep(1.0)
print("done")
"""

LEFT = """
with watched([part]):
    pass
server.close()
time.sleep(1.5)
print("done")
"""


def run(program, patience_s):
    return subprocess.run(
        [sys.executable, "-c", BEGIN + program, str(patience_s)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
        check=False,
    )


def test_a_part_that_stays_away_ends_the_process_with_its_last_words():
    done = run(LOST, 0.1)
    (said,) = done.stderr.splitlines()
    assert done.returncode == 7
    assert said.startswith("error: the raylet at 127.0.0.1:")
    assert "is gone: start the same command again" in said
    assert done.stdout == said.replace("error", "noted") + "\n"


def test_last_words_that_do_not_end_are_cut_off():
    assert run(FAILING_LAST_WORDS, 0.1).returncode == 7


@pytest.mark.parametrize("program", [BACK, LEFT], ids=["it comes back", "the block is left"])
def test_otherwise_the_process_goes_on(program):
    done = run(program, 30.0 if program is BACK else 0.1)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
