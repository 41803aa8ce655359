"""SIGTERM and SIGINT in a process of their own."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

BEGIN = "import signal, sys, time; from pipelines.runtime.signals import *; raise_on_signals();"


@contextmanager
def begun(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the program and is ready for signals."""
    command = [sys.executable, "-c", f"{BEGIN}\n{program}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_raises_once_and_the_end_is_not_disturbed(number: signal.Signals) -> None:
    program = """
try:
    print('ready', flush=True); time.sleep(60)
except Interrupted as interrupt:
    time.sleep(0.5)
    print(interrupt, flush=True); sys.exit(interrupt.exit_code)
"""
    with begun(program) as process:
        process.send_signal(number)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
    assert said == f"ended by {number.name}\n"
    assert process.returncode == 128 + number


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n try: print('ready', flush=True); time.sleep(60)\n except Interrupted: pass",
        # another's handler, as Ray puts it in place
        "signal.signal(signal.SIGTERM, lambda *_: None)\nprint('ready', flush=True)\n"
        "while True: time.sleep(60)",
        # C code that signals do not end
        "import ctypes; mutex = (ctypes.c_char * 64)(); lock = ctypes.CDLL(None).pthread_mutex_lock"
        "\nlock(mutex)\n"
        "while True:\n try: print('ready', flush=True); lock(mutex)\n except Interrupted: pass",
    ],
    ids=["swallowed", "handler replaced", "in C"],
)
def test_the_process_ends_within_two_seconds_whatever_it_does(program: str) -> None:
    with begun(program) as process:
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    assert time.monotonic() - start < 2.0
