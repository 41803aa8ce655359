"""Processes below a process, by what they do."""

import time
from collections.abc import Callable

import psutil


def below(pid: int) -> set[psutil.Process]:
    """Find all processes below one, as they are now; none if it has ended."""
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def title(process: psutil.Process) -> str:
    """The command line of a process; a worker of Ray shows there what it works on."""
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def actors(family: set[psutil.Process]) -> list[psutil.Process]:
    """Those that are actors of a ``tag`` job on CPUs."""
    return [process for process in family if "MapWorker" in title(process)]


def decoders(family: set[psutil.Process]) -> list[psutil.Process]:
    """Those that decode clips."""
    return [process for process in family if "isolation_child" in title(process)]


def raylets(family: set[psutil.Process]) -> list[psutil.Process]:
    """Those that stand for a node of Ray."""
    return [process for process in family if "/raylet/raylet " in title(process)]


def wait_for(
    find: Callable[[], list[psutil.Process]], patience_s: float = 60.0
) -> list[psutil.Process]:
    """Look for processes until there are any.

    Raises
    ------
    TimeoutError : none in ``patience_s``
    """
    give_up = time.monotonic() + patience_s
    while not (found := find()):
        if time.monotonic() > give_up:
            raise TimeoutError(f"no such process in {patience_s:.0f} s")
        time.sleep(0.02)
    return found
