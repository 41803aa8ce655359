"""What a person sees while a job runs, and that nobody who looks away harms the job."""

import io
import logging
import os
import pty
import threading

import pytest

from pipelines.runtime.progress import Progress, duration


class Watched(io.StringIO):
    """Tells when so many lines have come."""

    def __init__(self, n, is_terminal=False):
        super().__init__()
        self.left = n
        self.is_terminal = is_terminal
        self.enough = threading.Event()

    def isatty(self):
        return self.is_terminal

    def write(self, text):
        self.left -= 1
        if self.left <= 0:
            self.enough.set()
        return super().write(text)


def test_a_line_tells_how_far_the_job_is():
    progress = Progress("tagging", "clips", 200, stream=io.StringIO())
    assert progress.line(5.0) == "tagging:   0% 0/200 [00:05<?, ? clips/s]"
    progress.show(100, "10 failed")
    assert progress.line(10.0) == "tagging:  50% 100/200 [00:10<00:10, 10.00 clips/s, 10 failed]"


def test_sizes_are_told_in_units_and_speed_leaves_out_what_was_there():
    progress = Progress("a.zip", "B", 2_000_000_000, n_before=50_000_000, stream=io.StringIO())
    progress.show(100_000_000)
    assert progress.line(10.0) == "a.zip:   5% 100M/2.00G [00:10<06:20, 5.00MB/s]"


def test_a_total_may_be_unknown_and_become_known():
    progress = Progress("a.zip", "B", stream=io.StringIO())
    progress.show(1_000_000)
    assert progress.line(10.0) == "a.zip: 1.00MB [00:10, 100kB/s]"
    progress.total = 2_000_000
    assert progress.line(10.0) == "a.zip:  50% 1.00M/2.00M [00:10<00:10, 100kB/s]"


def test_names_in_the_line_are_visible():
    progress = Progress("a\x1b[2J\nb.zip", "clips", 2, stream=io.StringIO())
    progress.show(1, "last: gpj\u202evaw")
    line = progress.line(1.0)
    assert line.startswith(r"a\x1b[2J\nb.zip: ")
    assert r"last: gpj\u202evaw" in line


def test_lines_come_while_nothing_gets_done():
    log = Watched(3)
    with Progress("tagging", "clips", 1, stream=log, interval_s=0.01):
        assert log.enough.wait(60)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("tagging:   0% 0/1 [") for line in lines)


def test_a_terminal_keeps_one_line_that_ends_as_the_job_does():
    terminal = Watched(3, is_terminal=True)
    with Progress("tagging", "clips", 2, stream=terminal, interval_s=0.01) as progress:
        assert terminal.enough.wait(60)
        progress.show(2)
    text = terminal.getvalue()
    assert text.count("\r\x1b[K") >= 4
    assert text.count("\n") == 1
    assert "100%" in text.rpartition("\r")[2]
    assert text.endswith("\n")


def test_messages_of_a_verbose_job_are_not_overwritten(caplog):
    caplog.set_level(logging.INFO, "pipelines")
    terminal = Watched(2, is_terminal=True)
    with Progress("tagging", "clips", 2, stream=terminal, interval_s=0.01):
        assert terminal.enough.wait(60)
    assert "\r" not in terminal.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_job_that_is_soon_over_says_nothing(is_terminal):
    stream = Watched(1, is_terminal)
    with Progress("tagging", "clips", 1, stream=stream) as progress:
        progress.show(1)
    assert stream.getvalue() == ""


def test_a_job_with_nothing_to_do_says_nothing():
    stream = Watched(1)
    with Progress("tagging", "clips", 0, stream=stream, interval_s=1e-3):
        assert not stream.enough.wait(0.1)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


def without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")


def hung_up():
    """A terminal whose window was closed."""
    master, terminal = pty.openpty()
    os.close(master)
    return os.fdopen(terminal, "w")


@pytest.mark.parametrize("gone", [closed, without_reader, hung_up])
def test_a_stream_that_is_gone_ends_the_lines_and_not_the_job(gone):
    stream = gone()
    with Progress("tagging", "clips", 1, stream=stream, interval_s=1e-3) as progress:
        progress._thread.join(60)
        assert not progress._thread.is_alive()
        progress.show(1)
    stream.close()


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (11_100, "3 h 05 min")],
)
def test_durations_are_for_people(seconds, said):
    assert duration(seconds) == said
