"""What a process that decodes can still do, tried from inside it."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.runtime import isolation
from pipelines.runtime.isolation import Isolated

HERE = Path(__file__)
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-secret",
    "AWS_SESSION_TOKEN": "planted-secret",
    "RAY_AUTH_TOKEN": "planted-secret",
    "HTTPS_PROXY": "http://me:planted-secret@proxy",
    "SOMETHING_ELSE": "planted-secret",
}


# What runs in the child. Found there by name, so this folder has to be on sys.path.


def environment() -> Iterator[Any]:
    yield dict(os.environ)
    yield Path("/proc/self/environ").read_bytes()


def status() -> Iterator[str]:
    yield Path("/proc/self/status").read_text()


def open_files() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing
            yield str(path.readlink())


def reading(path: str) -> Iterator[bytes]:
    yield Path(path).read_bytes()


def writing(path: str) -> Iterator[int]:
    yield Path(path).write_bytes(b"x")


def truncating(path: str) -> Iterator[int]:
    os.truncate(path, 0)
    yield 1


def removing(path: str) -> Iterator[int]:
    Path(path).unlink()
    yield 1


def renaming(path: str) -> Iterator[int]:
    Path(path).rename(path + "2")
    yield 1


def linking(path: str) -> Iterator[int]:
    Path(path + "2").hardlink_to(path)
    yield 1


def connecting(family: int, kind: int, address: Any) -> Iterator[int]:
    with socket.socket(family, kind) as sock:
        sock.connect(address)
        yield sock.send(b"secret")


def ring() -> Iterator[int]:
    """io_uring opens sockets without a call of that name."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 8, ctypes.create_string_buffer(120)) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    yield 1


def running(*words: str) -> Iterator[int]:
    yield subprocess.run(words).returncode


def forking() -> Iterator[int]:
    if os.fork() == 0:
        os._exit(0)
    yield 1


def replacing() -> Iterator[int]:
    os.execv(sys.executable, [sys.executable, "-c", ""])
    yield 1


def killing(pid: int) -> Iterator[int]:
    os.kill(pid, signal.SIGUSR1)
    yield 1


def in_a_thread() -> Iterator[int]:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(os.getppid()))
    thread.start()
    thread.join()
    yield from found


def importing() -> Iterator[str]:
    import colorsys  # of the standard library, and nothing has needed it so far
    import http.cookies

    import scipy.signal

    yield from (colorsys.__name__, http.cookies.__name__, scipy.signal.__name__)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE.parent))
    monkeypatch.setitem(sys.modules, HERE.stem, sys.modules[__name__])
    for value in list(globals().values()):
        if getattr(value, "__module__", None) == __name__:
            monkeypatch.setattr(value, "__module__", HERE.stem)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Isolated]:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    with Isolated(time_limit_s=20, memory_limit_bytes=600 << 20) as isolated:
        yield isolated


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text("planted-secret")
    return path


def refused(isolated: Isolated, function: Callable[..., Any], *args: Any) -> bool:
    """Whether the kernel forbids it; the process lives on."""
    with pytest.raises(PermissionError):
        list(isolated.run(function, *args))
    return True


def test_the_environment_holds_nothing_of_the_parents(isolated: Isolated) -> None:
    found, raw = isolated.run(environment)
    assert set(found) <= {*isolation._INHERITED, *isolation._ONE_THREAD}
    assert b"planted-secret" not in raw


def test_no_privileges_come_back(isolated: Isolated) -> None:
    (text,) = isolated.run(status)
    fields = dict(line.split(":\t") for line in text.splitlines())
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_no_file_of_the_parents_is_open(isolated: Isolated, secret: Path) -> None:
    with secret.open() as file, socket.socket() as sock:
        os.set_inheritable(file.fileno(), True)
        os.set_inheritable(sock.fileno(), True)
        found = sorted(isolated.run(open_files))
    assert found[:3] == ["/dev/null"] * 3
    assert len([name for name in found if name.startswith("socket:")]) == 2  # line and lifeline
    assert len(found) <= 6  # and the folder that is listed


@pytest.mark.parametrize("function", [reading, writing, truncating, removing, renaming, linking])
def test_files_are_out_of_reach(isolated: Isolated, secret: Path, function: Any) -> None:
    assert refused(isolated, function, str(secret))
    assert secret.read_text() == "planted-secret"
    assert [*secret.parent.iterdir()] == [secret]


@pytest.mark.parametrize("function", [reading, writing])
def test_so_is_the_working_directory(isolated: Isolated, function: Any) -> None:
    assert refused(isolated, function, "pyproject.toml")
    assert refused(isolated, writing, str(HERE))


def test_so_is_the_parent(isolated: Isolated) -> None:
    assert refused(isolated, reading, f"/proc/{os.getpid()}/environ")
    assert refused(isolated, reading, f"/proc/{os.getpid()}/cmdline")
    assert refused(isolated, killing, os.getpid())


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_there_is_no_network(
    isolated: Isolated, listener: socket.socket, family: int, kind: int
) -> None:
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    assert refused(isolated, connecting, family, kind, (host, listener.getsockname()[1]))
    assert refused(isolated, ring)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_there_are_no_local_sockets(isolated: Isolated, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        address = str(tmp_path / "socket")
        assert refused(isolated, connecting, socket.AF_UNIX, socket.SOCK_STREAM, address)


def test_no_other_program_runs(isolated: Isolated) -> None:
    assert refused(isolated, running, "/bin/true")
    assert refused(isolated, forking)
    assert refused(isolated, replacing)


def test_what_decoding_needs_is_there(isolated: Isolated) -> None:
    assert list(isolated.run(in_a_thread)) == [os.getpid()]
    assert list(isolated.run(importing)) == ["colorsys", "http.cookies", "scipy.signal"]


OLD_KERNEL = """
import logging, sys
logging.basicConfig(format="%(message)s")
sys.path[:0] = {path!r}
from pipelines.runtime import sandbox
from pipelines.runtime.isolation import Isolated
import platform, {module}
calls = sandbox._CALLS[platform.machine()]
sandbox._CALLS[platform.machine()] = calls._replace(clone=9999, refused=(444, calls.seccomp))
sandbox._no_new_privs()
sandbox._seccomp()
for _ in range(2):
    with Isolated(60, 600 << 20) as isolated:
        print(*isolated.run({module}.in_a_thread), *isolated.run({module}.forking))
"""


def test_a_kernel_that_forbids_it_is_told_of_once() -> None:
    path = [str(HERE.parent), str(HERE.parents[3])]
    code = OLD_KERNEL.format(path=path, module=HERE.stem)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines() == [
        "this kernel does not let decoders be kept from other files and the network"
    ]
    assert len(done.stdout.splitlines()) == 2
