"""What a person sees while a job runs."""

import io
import time

import pytest

from pipelines.output.tally import Tally
from pipelines.runtime.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_tells_how_far_the_job_is() -> None:
    progress = Progress(200, io.StringIO())
    assert progress.line(5.0).endswith("0 failed, starting")
    progress.update(Tally(n_tagged=90, audio_s=1800.0, failures={"empty": 10}))
    said = "100 of 200 clips, 0.50 h of audio, 10.0 clips/s, 10 failed, 10 s left"
    assert progress.line(10.0) == said


def test_lines_come_while_nothing_happens_and_one_at_the_end() -> None:
    log = io.StringIO()
    with Progress(1, log, interval_s=0.01):
        time.sleep(0.2)
    lines = log.getvalue().splitlines()
    assert len(lines) > 2
    assert all(line.startswith("0 of 1 clips") for line in lines)


def test_a_terminal_keeps_one_line() -> None:
    terminal = Terminal()
    with Progress(1, terminal, interval_s=0.01):
        time.sleep(0.1)
    assert terminal.getvalue().count("\r\x1b[K0 of 1 clips") > 2
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (11_100, "3 h 05 min")],
)
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert duration(seconds) == said
