"""Standard error for log collectors: every line a JSON object."""

import io
import json
import logging
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.cli import logs
from pipelines.cli.logs import JsonLines, configure, format_in
from pipelines.cli.main import Exit, main
from pipelines.runtime import signals
from pipelines.runtime.log_context import of_run

ROOT = Path(__file__).parents[3]


def objects(text: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        assert list(each) == ["time", "level", "logger", "message", "run_id"]
        assert datetime.fromisoformat(each["time"]).utcoffset() == timedelta(0)
    return found


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set up for the life of the process ends with the test."""
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(signals, "_last_line", signals._last_line.copy())


def test_log_records_and_other_lines(capsys: pytest.CaptureFixture[str], as_before: None) -> None:
    log = logging.getLogger("pipelines.x")
    configure(verbose=True, log_format="json")
    with of_run("r-1"):
        log.info("retrying %s", "ü")
        sys.stderr.write("progress: 1 of 2\n\n")
        try:
            raise KeyError("x")
        except KeyError:
            log.exception("oh")
    info, progress, oh = objects(capsys.readouterr().err)
    assert (info["level"], info["logger"], info["message"]) == ("INFO", "pipelines.x", "retrying ü")
    assert (progress["level"], progress["message"]) == ("INFO", "progress: 1 of 2")
    assert oh["message"].startswith("oh\nTraceback")
    assert {each["run_id"] for each in (info, progress, oh)} == {"r-1"}


LOGGED = r"""
import logging, sys
from pipelines.cli.logs import configure, tell_traceback
hostile = "a\x1b[2J\nERROR forged: \u202e"
configure(verbose=True, log_format=sys.argv[1])
log = logging.getLogger("pipelines.x")
log.warning("passed over %s", hostile)
try:
    raise ValueError(hostile)
except ValueError as error:
    log.exception("failed at %s", hostile)
    tell_traceback(error)
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_names_in_messages_and_tracebacks_end_no_line(log_format: str) -> None:
    command = [sys.executable, "-c", LOGGED, log_format]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr and "\u202e" not in done.stderr
    shown = r"a\x1b[2J\nERROR forged: \u202e"
    if log_format == "json":
        messages = [each["message"] for each in objects(done.stderr)]
        assert messages[0] == f"passed over {shown}"
        assert messages[1].startswith(f"failed at {shown}\nTraceback")
        assert not any("\x1b" in message or "\u202e" in message for message in messages)
        return
    lines = done.stderr.splitlines()
    assert lines[:3] == [
        f"WARNING pipelines.x: passed over {shown}",
        f"ERROR pipelines.x: failed at {shown}",
        "Traceback (most recent call last):",
    ]
    assert sum(line.startswith("ERROR") for line in lines) == 1


@pytest.mark.parametrize("formatter", [logs._TextFormatter(), logs._JsonFormatter()])
def test_what_libraries_log_is_told_without_secrets(formatter: logging.Formatter) -> None:
    try:
        raise OSError("https://h/a?sig=" + "planted")
    except OSError:
        about = sys.exc_info()
    said = "GET http://h/a?X-Amz-Signature=%s", ("planted",)
    record = logging.LogRecord("aiohttp.client", logging.ERROR, "x.py", 1, *said, about)
    told = formatter.format(record)
    assert "GET http://h/a?" in told
    assert "OSError: https://h/a?" in told
    assert "planted" not in told.replace('"planted"', "").replace('\\"planted\\"', "")


def test_lines_that_threads_write_in_pieces_stay_whole() -> None:
    written = io.StringIO()
    stream = JsonLines(written)

    def write(name: str) -> None:
        for i in range(200):
            for piece in (name, f" {i}", "\n"):
                stream.write(piece)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = {each["message"] for each in objects(written.getvalue())}
    assert said == {f"{name} {i}" for name in "abcd" for i in range(200)}


def test_objects_of_a_job_that_was_submitted_pass_as_they_are() -> None:
    inner, outer = io.StringIO(), io.StringIO()
    JsonLines(inner).write("hello\n")
    JsonLines(outer).write(inner.getvalue())
    assert outer.getvalue() == inner.getvalue()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["tag", "x"], "text"),
        (["tag", "--log-format", "json"], "json"),
        (["tag", "--log-format=json", "x"], "json"),
        (["tag", "--log-format", "text", "json"], "text"),
    ],
)
def test_the_format_is_known_before_the_line_is_parsed(words: list[str], expected: str) -> None:
    assert format_in(words) == expected


def test_a_mistake_in_the_command_is_an_object_too(
    capsys: pytest.CaptureFixture[str], as_before: None
) -> None:
    assert main(["tag", "x", "--log-format", "json", "--nonsense"]) == Exit.COMMAND
    (said,) = objects(capsys.readouterr().err)
    assert said["level"] == "ERROR"
    assert "--nonsense" in said["message"]


def test_a_whole_command(tmp_path: Path, tiny_model: Path) -> None:
    sound = tmp_path / "a.wav"
    soundfile.write(sound, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    out = tmp_path / "out"
    command = ["tag", str(sound), "--out", str(out), "--model", str(tiny_model), "--verbose"]
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pipelines", *command, "--log-format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    objects(done.stderr)
    assert "complete: run" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", *command, "--log-format=json", "--top-k", "4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert objects(done.stderr)[-1]["level"] == "ERROR"


ENDED = """
import os, signal, sys, time
from pipelines.cli.main import main
from pipelines.cli.verbs import VERBS
from pipelines.runtime.signals import raise_on_signals

def hang(self, command):
    os.kill(os.getpid(), signal.SIGTERM)
    while True:  # as code does that takes an interruption for a failure
        try:
            time.sleep(1)
        except BaseException:
            pass

VERBS["status"].run = hang
raise_on_signals()
main(["status", "x", "--log-format", "json"])
"""


def test_the_last_words_of_a_process_that_hangs_are_an_object() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 143
    (said,) = objects(done.stderr)
    assert (said["level"], said["message"]) == ("ERROR", "ended by SIGTERM")
