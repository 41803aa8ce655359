"""What a decoding process gives up for good, so that a recording that takes it over gains little.

    no_new_privs   no program gives it rights that it has not
    Landlock       it reads Python's and the system's libraries only, and writes nothing; it neither
                   signals other processes nor looks into them
    seccomp        no socket of any kind, no other process or program, no keys of the kernel

All three need no privileges, and hold for the life of the process. Where a kernel lacks one, or a
container forbids it, the process goes without and says so. Landlock came with Linux 5.13, its cover
of signals with 6.12. An empty network namespace would do against the network too, but many systems
let no ordinary user make one; seccomp is allowed nearly everywhere.

The numbers are those of ``linux/landlock.h``, ``linux/seccomp.h`` and ``asm/unistd.h``.
"""

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

_NO_NEW_PRIVS: Final = 38

_CREATE_RULESET: Final = 444  # these three are the same on every machine
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_N_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15}  # by version; 16 from the fifth on
_TCP: Final = 0b11  # bind and connect; from version 4 on
_OTHER_PROCESSES: Final = 0b11  # their abstract sockets, and signals to them; from version 6 on
_SYSTEM: Final = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc/self")

_SET_FILTER: Final = 1
_ALL_THREADS: Final = 1
_ALLOW: Final = 0x7FFF_0000
_REFUSE: Final = 0x0005_0000 | errno.EPERM
_UNKNOWN: Final = 0x0005_0000 | errno.ENOSYS
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_IF_BITS: Final = 0x45
_RETURN: Final = 0x06
_NUMBER: Final = 0  # offsets of what a filter sees
_MACHINE: Final = 4
_FIRST_ARGUMENT: Final = 16
_OF_X32: Final = 0x4000_0000
_CLONE_THREAD: Final = 0x1_0000
_CLONE3: Final = 435
_EVERYWHERE: Final = (425, 438)  # io_uring_setup, pidfd_getfd


class _Calls(NamedTuple):
    """Numbers of a machine and its system calls."""

    machine: int
    seccomp: int
    clone: int
    refused: tuple[int, ...]


_CALLS: Final = {
    # socket; execve, execveat; ptrace, process_vm_readv and _writev; add_key, request_key, keyctl;
    # unshare, setns, bpf; fork, vfork
    "x86_64": _Calls(
        0xC000_003E, 317, 56, (41, 59, 322, 101, 310, 311, 248, 249, 250, 272, 308, 321, 57, 58)
    ),
    "aarch64": _Calls(
        0xC000_00B7, 277, 220, (198, 221, 281, 117, 270, 271, 217, 218, 219, 97, 268, 280)
    ),
}


def close_files() -> list[str]:
    """Give up other privileges and files; before there are threads, which it would not cover.

    Returns
    -------
    what this kernel does not take away, for people
    """
    return _not_taken({"new privileges": _no_new_privs, "other files": _landlock})


def close_network() -> list[str]:
    """Give up sockets, processes and programs, for all threads; returns as ``close_files``."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # nor is a crash written to the disk
    return _not_taken({"the network": _seccomp})


def _not_taken(steps: dict[str, Callable[[], None]]) -> list[str]:
    kept = []
    for what, step in steps.items():
        try:
            step()
        except (OSError, AttributeError, KeyError):  # forbidden; no such call; unknown machine
            kept.append(what)
    return kept


def _no_new_privs() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _landlock() -> None:
    version = _call(_CREATE_RULESET, None, 0, _ASK_VERSION)
    handled = [(1 << _N_FILE_RIGHTS.get(version, 16)) - 1]
    handled += [_TCP] * (version >= 4) + [_OTHER_PROCESSES] * (version >= 6)
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    rules = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for path in _libraries():
            _allow(rules, path, _READ_FILE | (_EXECUTE | _READ_DIR if path.is_dir() else 0))
        _allow(rules, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _libraries() -> Iterator[Path]:
    """What Python may yet load: no folder that holds the user's own files as well."""
    for folder in (*_SYSTEM, sys.prefix, sys.base_prefix):
        yield Path(folder)
    own = Path.cwd(), Path.home()
    for folder in sys.path:
        if not any(path.is_relative_to(Path(folder).resolve()) for path in own):
            yield Path(folder)
    root = Path(__file__).parents[2]  # of the source, which may well be the working directory
    yield from (root / "pipelines", root / "tagger")


def _allow(rules: int, path: Path, rights: int) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # nothing there
    try:
        rule = struct.pack("=Qi", rights, file)
        _call(_ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(file)


def _seccomp() -> None:
    calls = _CALLS[platform.machine()]
    steps = b"".join(struct.pack("=HBBI", *step) for step in _filter(calls))
    program = ctypes.create_string_buffer(steps)
    head = struct.pack("@HP", len(steps) // 8, ctypes.addressof(program))
    if _call(calls.seccomp, _SET_FILTER, _ALL_THREADS, head):
        raise OSError(errno.EAGAIN, "a thread has a filter of its own")


def _filter(calls: _Calls) -> Iterator[tuple[int, int, int, int]]:
    """Steps (code, how many to pass over if true, if false, value) of the filter."""
    yield _LOAD, 0, 0, _MACHINE
    yield _IF_EQUAL, 1, 0, calls.machine
    yield _RETURN, 0, 0, _REFUSE
    yield _LOAD, 0, 0, _NUMBER
    yield _IF_AT_LEAST, 0, 1, _OF_X32
    yield _RETURN, 0, 0, _REFUSE
    for number in (*calls.refused, *_EVERYWHERE):
        yield _IF_EQUAL, 0, 1, number
        yield _RETURN, 0, 0, _REFUSE
    yield _IF_EQUAL, 0, 1, _CLONE3  # its flags cannot be seen; libc then takes clone
    yield _RETURN, 0, 0, _UNKNOWN
    yield _IF_EQUAL, 0, 3, calls.clone
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _IF_BITS, 1, 0, _CLONE_THREAD
    yield _RETURN, 0, 0, _REFUSE
    yield _RETURN, 0, 0, _ALLOW


def _call(number: int, *args: Any) -> int:
    """The result of a system call; OSError where it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args]
    result: int = libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
