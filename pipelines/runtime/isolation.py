"""Work that may hang, crash or eat all memory, done in a child process.

Ray repeats a task whose process died for ever, and knows no time limit per clip. So each worker
keeps one child, and what the child does to itself becomes the clip's failure:

    no answer within the time limit        TIMEOUT         the child is killed
    not started within ``START_LIMIT_S``   TIMEOUT         the child is killed
    MemoryError at the memory limit        OUT_OF_MEMORY
    SIGKILL, SIGTERM, SIGHUP from outside  OUT_OF_MEMORY   as killers of the kernel and others send
    any other end of the process           CRASHED
    an answer that is none                 CRASHED         the child is killed

Each of them is recorded only after one more try alone in a fresh child. ``ClipError`` arrives as
itself; other exceptions too: they are defects and end the job, as does a child that cannot start.
The child dies with its parent.

Whoever made the recording may have taken the child over. So it has an environment without secrets,
no file of the parent's but the recording, and gives up what ``pipelines.runtime.sandbox`` can take
away; and the parent builds only plain values from its answers (``pipelines.runtime.channel``).

Pools with time limits exist (pebble, loky), but they return one result for each call. Here a call
yields its results one by one, so that hours of audio pass through in pieces, its time limit grows
with what it has found, and the child's memory is bounded.
"""

import json
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pipelines.runtime.channel import GarbledError, GuardedChannel
from pipelines.runtime.isolation_child import ERROR, ITEM, MEMORY
from tagger.errors import ClipError, Reason

START_LIMIT_S: Final = 120.0
_FROM_OUTSIDE: Final = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGHUP)
_INHERITED: Final = ("LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "LC_CTYPE")  # no secrets
# A second BLAS thread spins while it waits, and costs more than it brings.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_OUT_OF_BAND_BYTES: Final = 64 << 10
_BOOT: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from pipelines.runtime.isolation_child import serve;"
    "serve(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])"
)


_logger = logging.getLogger(__name__)


class _LostError(Exception):
    """The child did not live to finish the call."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Isolated:
    """One child process, started when first needed and used for thousands of calls.

    Not for several threads at once. Close it, or use it as a context manager.

    Parameters
    ----------
    time_limit_s : longest wait for the child in one call; the caller's own time does not count
    memory_limit_bytes : private memory of the child, its imported libraries' (some 100 MB) included
    """

    def __init__(self, time_limit_s: float, memory_limit_bytes: int) -> None:
        self._time_limit_s = time_limit_s
        self._memory_limit_bytes = memory_limit_bytes
        self._granted_s = 0.0
        self._child: _Child | None = None
        self._ended_cpu_s = 0.0

    def run(self, function: Callable[..., Iterable[Any]], *args: Any) -> Iterator[Any]:
        """Yield what ``function(*args)`` yields in the child.

        Parameters
        ----------
        function : importable by name, and deterministic: a second try runs it from the start and
            passes over the items already given
        args : picklable; large ``bytes`` cross without being pickled, and a ``Path`` as the binary
            file that it names, opened here

        Raises
        ------
        ClipError : the function's own, or TIMEOUT, CRASHED, OUT_OF_MEMORY after two tries
        OSError : a path cannot be opened
        """
        with ExitStack() as files:
            sent = tuple(_sent(arg, files) for arg in args)
            yield from self._two_tries(function, sent)

    def _two_tries(self, function: Callable[..., Iterable[Any]], args: tuple[Any, ...]) -> Any:
        n_given = 0
        self._granted_s = 0.0
        for last_try in (False, True):
            try:
                for index, item in enumerate(self._attempt(function, args)):
                    if index >= n_given:
                        n_given += 1
                        yield item
                return
            except _LostError as loss:
                if last_try:
                    raise ClipError(loss.reason, loss.detail) from None

    def allow(self, seconds: float) -> None:
        """Grant the call that is running more time, as when its first items tell of a long clip."""
        self._granted_s += seconds
        if self._child is not None:
            self._child.channel.allow(seconds)

    def _attempt(self, function: Callable[..., Iterable[Any]], args: tuple[Any, ...]) -> Any:
        """One try; unless the child ends the call in good order, it is killed."""
        in_order = False
        try:
            if self._child is None:
                self._child = _Child(self._memory_limit_bytes, function.__module__)
            answers = self._child.call(function, args, self._time_limit_s + self._granted_s)
            for kind, value in answers:
                if kind == ITEM:
                    yield value
                    continue
                in_order = kind != MEMORY
                if kind == MEMORY:
                    limit_mb = self._memory_limit_bytes >> 20
                    raise _LostError(Reason.OUT_OF_MEMORY, f"needs more than {limit_mb} MiB")
                if kind == ERROR:
                    raise value
        finally:
            if not in_order:
                self.close()

    @property
    def cpu_s(self) -> float:
        """CPU time of all children so far, their start included."""
        return self._ended_cpu_s + (self._child.cpu_s if self._child else 0.0)

    def close(self) -> None:
        """Kill the child, if there is one; a later call starts another."""
        if self._child is not None:
            self._ended_cpu_s = self.cpu_s
            self._child.kill()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


class _Child:
    """The process and the line to it."""

    def __init__(self, memory_limit_bytes: int, module: str) -> None:
        sock, its_sock = socket.socketpair()
        lifeline, its_lifeline = socket.socketpair()
        with its_sock, its_lifeline:
            fds = its_sock.fileno(), its_lifeline.fileno()
            numbers = [str(number) for number in (*fds, memory_limit_bytes)]
            command = [sys.executable, "-P", "-c", _BOOT, json.dumps(sys.path), *numbers, module]
            self._process = subprocess.Popen(  # noqa: S603 (nothing in it comes from outside)
                command, stdin=subprocess.DEVNULL, pass_fds=fds, env=_environment()
            )
        self.channel = GuardedChannel(sock, memory_limit_bytes)
        self.kill = weakref.finalize(self, _end, self._process, sock, lifeline)
        self.channel.patience_s = START_LIMIT_S
        try:
            _tell_once(*self.channel.receive()[1])
        except TimeoutError:
            raise _LostError(
                Reason.TIMEOUT, f"no process to decode in within {START_LIMIT_S:g} s"
            ) from None
        except (EOFError, OSError):
            self._raise_ended(starting=True)

    @property
    def cpu_s(self) -> float:
        """CPU time so far; 0 once it has ended by itself."""
        try:
            return time.clock_gettime(~self._process.pid << 3 | 2)  # as clock_getcpuclockid(3) has
        except OSError:
            return 0.0

    def call(
        self, function: Callable[..., Iterable[Any]], args: tuple[Any, ...], time_limit_s: float
    ) -> Iterator[tuple[int, Any]]:
        """Yield the child's answers, the last of them (DONE, MEMORY or ERROR) included."""
        self.channel.patience_s = time_limit_s
        try:
            self.channel.send((function, args))
            kind = ITEM
            while kind == ITEM:
                answer = self.channel.receive()
                if not (isinstance(answer, tuple) and len(answer) == 2):
                    raise GarbledError("an answer that is none")
                kind, value = answer
                yield kind, value
        except GarbledError as error:
            raise _LostError(Reason.CRASHED, f"its process gave {error}") from None
        except TimeoutError:
            raise _LostError(
                Reason.TIMEOUT, f"no result within {time_limit_s:g} s of work"
            ) from None
        except (EOFError, OSError):
            self._raise_ended(starting=False)

    def _raise_ended(self, starting: bool) -> None:
        """Raise what the end of the process means; the line to it is already broken."""
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            raise _LostError(Reason.CRASHED, "closed its line but lives on") from None
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if code in _FROM_OUTSIDE:
            detail = f"ended from outside with {name}, as by the kernel for memory"
            raise _LostError(Reason.OUT_OF_MEMORY, detail)
        if starting:
            raise RuntimeError(f"a child process did not start ({name})")
        raise _LostError(Reason.CRASHED, f"ended its process with {name}")


def _environment() -> dict[str, str]:
    """What the child may know of the environment: how to find its libraries."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ} | _ONE_THREAD


@cache
def _tell_once(*kept: str) -> None:
    """Log what the kernel left to the processes that decode; the same on each start of one."""
    if kept:
        _logger.warning("this kernel does not let decoders be kept from %s", " and ".join(kept))


def _sent(arg: Any, files: ExitStack) -> Any:
    """An argument as it crosses; files stay open as long as ``files``."""
    if isinstance(arg, Path):
        return files.enter_context(arg.open("rb"))
    if isinstance(arg, bytes) and len(arg) >= _OUT_OF_BAND_BYTES:
        return pickle.PickleBuffer(arg)
    return arg


def _end(process: subprocess.Popen[bytes], *lines: socket.socket) -> None:
    process.kill()
    for line in lines:
        line.close()
    process.wait()
