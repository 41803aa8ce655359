"""Real child processes that hang, crash, eat memory and are killed."""

import os
import pickle
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.runtime import isolation
from pipelines.runtime.isolation import Isolated
from tagger.errors import ClipError, Reason, Stage

MIB = 1 << 20
HERE = Path(__file__)


# What runs in the child. Found there by name, so this folder has to be on sys.path.


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


def pid() -> Iterator[int]:
    yield os.getpid()


def echo(*args: Any) -> Iterator[Any]:
    yield from args


def zeros(n: int) -> Iterator[Any]:
    yield np.zeros(n)


def burn(seconds: float) -> Iterator[float]:
    """Work for so many seconds of CPU time; gives how many they were."""
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass
    yield time.process_time() - start


def rest(seconds: float) -> Iterator[None]:
    time.sleep(seconds)
    yield


def hang() -> Iterator[int]:
    yield 1
    time.sleep(1000)


def hang_with_the_gil() -> Iterator[int]:
    yield os.getpid()
    re.match("(a+)+$", "a" * 60 + "b")


def end(signal_number: int) -> Iterator[int]:
    yield 1
    if signal_number != signal.SIGKILL:
        signal.signal(signal_number, signal.SIG_DFL)  # nohup has it ignored
    os.kill(os.getpid(), signal_number)
    time.sleep(1000)


def leave() -> Iterator[int]:
    yield 1
    os._exit(3)


def first_time_crash(marker: str) -> Iterator[int]:
    again = Path(marker).exists()  # the parent makes it when it has the first number
    yield 1
    yield 2
    if not again:
        os.kill(os.getpid(), signal.SIGSEGV)
    yield 3


def slow_then_crash_once(seconds: float, marker: str) -> Iterator[int]:
    numbers = first_time_crash(marker)
    yield next(numbers)
    time.sleep(seconds)
    yield from numbers


def content(file: Any) -> Iterator[bytes]:
    yield file.read()
    file.seek(0)
    yield file.read(2)


def say(text: str) -> Iterator[int]:
    for output in (1, 2):
        os.write(output, text.encode())
    yield 1


def line() -> socket.socket:
    """The child's end of the line to its parent."""
    for number in range(3, 64):
        with suppress(OSError):  # no file, or no socket
            sock = socket.socket(fileno=os.dup(number))
            sock.getpeername()
            return sock
    raise AssertionError


def send(data: bytes) -> Iterator[int]:
    line().sendall(data)
    time.sleep(1000)
    yield 1


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __reduce__(self) -> Any:
        return os.mkdir, self.words


def command(*words: str) -> Iterator[Any]:
    yield Command(*words)


def hold(n_bytes: int) -> Iterator[int]:
    yield np.ones(n_bytes, np.uint8).nbytes


def bad_clip() -> Iterator[int]:
    yield 1
    raise ClipError(Reason.DECODE_ERROR, "no sync word", Stage.READ)


def defect() -> Iterator[int]:
    yield 1
    raise KeyError("a defect")


class StubbornError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__("does not pickle")


def stubborn_defect() -> Iterator[int]:
    yield 1
    raise StubbornError(1, 2)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE.parent))
    monkeypatch.setitem(sys.modules, HERE.stem, sys.modules[__name__])
    for value in list(globals().values()):
        if getattr(value, "__module__", None) == __name__:
            monkeypatch.setattr(value, "__module__", HERE.stem)


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    with Isolated(time_limit_s=20, memory_limit_bytes=600 * MIB) as isolated:
        yield isolated


def failure(isolated: Isolated, function: Any, *args: Any) -> ClipError:
    with pytest.raises(ClipError) as caught:
        list(isolated.run(function, *args))
    return caught.value


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pid: int, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not alive(pid)


def test_gives_what_the_function_yields(isolated: Isolated) -> None:
    assert list(isolated.run(numbers, 1000)) == list(range(1000))
    assert list(isolated.run(numbers, 0)) == []


def test_arrays_and_bytes_cross_unchanged(isolated: Isolated) -> None:
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(7, 96, 64)).astype(np.float32)
    strided = patches[::2, :, ::3]
    clip = rng.bytes(5 * MIB)
    sent = (patches, strided, clip, b"", b"short", {"a": [patches, None]}, np.zeros((0, 3)))
    *arrays, nested, empty = got = list(isolated.run(echo, *sent))
    assert len(got) == len(sent)
    np.testing.assert_array_equal(arrays[0], patches)
    np.testing.assert_array_equal(arrays[1], strided)
    assert arrays[2:] == [clip, b"", b"short"]
    np.testing.assert_array_equal(nested["a"][0], patches)
    assert empty.shape == (0, 3)


def test_arrays_from_the_child_can_be_written_to(isolated: Isolated) -> None:
    (array,) = isolated.run(zeros, 10)
    array += 1
    assert array.sum() == 10


def test_one_child_serves_many_calls(isolated: Isolated) -> None:
    children = {child for _ in range(300) for child in isolated.run(pid)}
    assert len(children) == 1
    assert os.getpid() not in children


def test_an_abandoned_call_does_not_disturb_the_next(isolated: Isolated) -> None:
    for _ in isolated.run(numbers, 100_000):
        break
    assert list(isolated.run(numbers, 3)) == [0, 1, 2]


@pytest.mark.parametrize("function", [hang, hang_with_the_gil])
def test_a_hang_is_cut_off(function: Any) -> None:
    with Isolated(time_limit_s=0.3, memory_limit_bytes=600 * MIB) as isolated:
        start_s = time.monotonic()
        assert failure(isolated, function).reason is Reason.TIMEOUT
        assert time.monotonic() - start_s < 20  # two tries of 0.3 s and two starts
        assert list(isolated.run(numbers, 2)) == [0, 1]


def test_the_callers_own_time_does_not_count() -> None:
    with Isolated(time_limit_s=0.5, memory_limit_bytes=600 * MIB) as isolated:
        got = []
        for number in isolated.run(numbers, 3):
            time.sleep(0.4)
            got.append(number)
        assert got == [0, 1, 2]


def test_a_long_clip_may_be_granted_more_time(tmp_path: Path) -> None:
    with Isolated(time_limit_s=0.5, memory_limit_bytes=600 * MIB) as isolated:
        for _ in isolated.run(slow_then_crash_once, 1.0, str(tmp_path / "marker")):
            isolated.allow(10.0)  # which the second try keeps
            (tmp_path / "marker").touch()
        assert failure(isolated, slow_then_crash_once, 1.0, "/").reason is Reason.TIMEOUT


@pytest.mark.parametrize(
    ("function", "args", "reason"),
    [
        (end, (signal.SIGSEGV,), Reason.CRASHED),
        (end, (signal.SIGABRT,), Reason.CRASHED),
        (leave, (), Reason.CRASHED),
        (end, (signal.SIGKILL,), Reason.OUT_OF_MEMORY),
        (end, (signal.SIGTERM,), Reason.OUT_OF_MEMORY),
        (end, (signal.SIGHUP,), Reason.OUT_OF_MEMORY),
        (hold, (900 * MIB,), Reason.OUT_OF_MEMORY),
    ],
)
def test_a_lost_child_is_named(
    isolated: Isolated, function: Any, args: tuple[Any, ...], reason: Reason
) -> None:
    assert failure(isolated, function, *args).reason is reason
    assert list(isolated.run(numbers, 2)) == [0, 1]


def test_a_child_that_is_slow_to_start_is_no_crash(
    isolated: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(isolation, "START_LIMIT_S", 0.001)
        assert failure(isolated, numbers, 1).reason is Reason.TIMEOUT
    assert list(isolated.run(numbers, 1)) == [0]


@pytest.mark.parametrize("how", [f"os.kill(os.getpid(), {signal.SIGSEGV})", "os._exit(3)"])
def test_a_child_that_cannot_start_is_a_defect(
    isolated: Isolated, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(isolation, "_BOOT", f"import os; {how}")
    with pytest.raises(RuntimeError, match="did not start"):
        list(isolated.run(numbers, 1))


def test_memory_below_the_limit_is_granted(isolated: Isolated) -> None:
    assert list(isolated.run(hold, 300 * MIB)) == [300 * MIB]


def test_a_second_try_passes_over_what_was_given(isolated: Isolated, tmp_path: Path) -> None:
    got = []
    for number in isolated.run(first_time_crash, str(tmp_path / "marker")):
        (tmp_path / "marker").touch()
        got.append(number)
    assert got == [1, 2, 3]


def test_a_path_arrives_as_the_file_that_it_names(isolated: Isolated, tmp_path: Path) -> None:
    (tmp_path / "clip").write_bytes(b"a sound")
    for _ in range(100):  # more than a process may have open, were they kept
        assert list(isolated.run(content, tmp_path / "clip")) == [b"a sound", b"a "]
    with pytest.raises(FileNotFoundError):
        list(isolated.run(content, tmp_path / "other"))


def test_nobody_hears_what_a_decoder_prints(
    isolated: Isolated, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(isolated.run(say, "\033[2J")) == [1]
    assert capfd.readouterr() == ("", "")


def test_nothing_runs_that_an_answer_names(isolated: Isolated, tmp_path: Path) -> None:
    assert failure(isolated, command, str(tmp_path / "made")).reason is Reason.CRASHED
    assert not [*tmp_path.iterdir()]
    assert list(isolated.run(numbers, 2)) == [0, 1]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<3Q", 0, 5, 0) + b"hello",
        struct.pack("<2Q", 0, 1 << 50),
        struct.pack("<2Q", 1 << 40, 10),
        struct.pack("<3Q", 1, 10, 1 << 50),
        struct.pack("<2Q", 0, len(pickle.dumps(5))) + pickle.dumps(5),
        struct.pack("<2Q", 0, len(pickle.dumps((1, 2, 3)))) + pickle.dumps((1, 2, 3)),
    ],
)
def test_an_answer_that_is_none_is_a_crash(isolated: Isolated, data: bytes) -> None:
    assert failure(isolated, send, data).reason is Reason.CRASHED
    assert list(isolated.run(numbers, 2)) == [0, 1]


def test_an_idle_child_that_was_killed_is_replaced(isolated: Isolated) -> None:
    (child,) = isolated.run(pid)
    os.kill(child, signal.SIGKILL)
    assert gone_within(child, 5)
    (other,) = isolated.run(pid)
    assert other != child


def test_clip_errors_arrive_as_themselves(isolated: Isolated) -> None:
    (child,) = isolated.run(pid)
    error = failure(isolated, bad_clip)
    assert (error.reason, error.detail) == (Reason.DECODE_ERROR, "no sync word")
    assert error.stage is Stage.READ
    assert list(isolated.run(pid)) == [child]


def test_defects_arrive_with_their_traceback(isolated: Isolated) -> None:
    (child,) = isolated.run(pid)
    with pytest.raises(KeyError, match="a defect") as caught:
        list(isolated.run(defect))
    assert "in defect" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="does not pickle"):
        list(isolated.run(stubborn_defect))
    assert list(isolated.run(pid)) == [child]


def test_close_ends_the_child(isolated: Isolated) -> None:
    (child,) = isolated.run(pid)
    isolated.close()
    assert not alive(child)
    assert list(isolated.run(numbers, 1)) == [0]


PARENT = """
import sys, time
sys.path[:0] = {path!r}
import {module}
from pipelines.runtime.isolation import Isolated
isolated = Isolated(60, 600 << 20)
answers = isolated.run({module}.{function})
print(next(answers), flush=True)
{then}
"""


@pytest.mark.parametrize("function", ["pid", "hang_with_the_gil"])
def test_the_child_dies_with_a_killed_parent(function: str) -> None:
    path = [str(HERE.parent), str(HERE.parents[3])]
    code = PARENT.format(path=path, module=HERE.stem, function=function, then="time.sleep(1000)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        parent.wait()
        assert gone_within(child, 5)


def test_the_child_dies_with_a_parent_that_ends() -> None:
    path = [str(HERE.parent), str(HERE.parents[3])]
    code = PARENT.format(path=path, module=HERE.stem, function="pid", then="")
    child = int(subprocess.run([sys.executable, "-c", code], capture_output=True).stdout)
    assert gone_within(child, 5)


def test_the_child_outlives_the_thread_that_started_it(isolated: Isolated) -> None:
    import threading

    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.extend(isolated.run(pid)))
    thread.start()
    thread.join()
    assert list(isolated.run(pid)) == pids


def test_cpu_time_of_all_children_is_counted() -> None:
    """Beside what the child itself counts; the wait of its parent costs nothing."""
    with Isolated(60, 1 << 30) as isolated:
        (first,) = isolated.run(burn, 0.3)
        after_one = isolated.cpu_s
        assert first <= after_one
        isolated.close()
        assert isolated.cpu_s >= after_one
        (second,) = isolated.run(burn, 0.2)
        assert isolated.cpu_s >= after_one + second
        list(isolated.run(rest, 0.3))
        assert isolated.cpu_s < after_one + second + 0.3
