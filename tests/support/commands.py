"""The command as a user gives it: in this process, or in one of its own."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def carry_out(*arguments: str) -> Done:
    """Carry out a command in this process, on the Ray that it has joined."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(arguments))
    return Done(code, out.getvalue(), err.getvalue())


def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Begin a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
