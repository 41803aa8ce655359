"""What ``tag`` tells at its end."""

import json

import pytest

from pipelines.cli import terminal as report
from pipelines.output.failed_clips import FailedClip
from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.tally import Tally
from pipelines.tagging.cost import Cost
from pipelines.tagging.preview import Preview

FAILED = [FailedClip("c", "r-1", "file:///a\nb.wav", "empty", "the file\x1b has no bytes")]


def record() -> RunRecord:
    made = RunRecord("r-1", [], {"out": "tables"}, "tiny-1", n_listed=1200, n_done_before=1000)
    made.tally = Tally(150, 3600.0, failures={"silent": 2, "empty": 40})
    made.end(RunState.OVER_BUDGET)
    return made


def test_the_summary_says_what_came_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    report.show_summary(record(), FAILED, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "over_budget: run r-1, model tiny-1",
        "  listed    1,200 clips; 1,000 tagged before, 0 given up before",
        "  tagged    150 clips, 1.00 h of audio in 0 s",
        "  failed    42",
        "    empty               40",
        "    silent              2",
        r"    file:///a\nb.wav  empty: the file\x1b has no bytes",
        "    … and 41 more (status --json names all)",
        "  tables    tables",
    ]


def test_the_summary_says_what_scores_mean_where_clips_have_several_labels(capsys) -> None:
    made = record()
    made.labelling = "several"
    report.show_summary(made, (), as_json=False)
    assert "scores    of each label by itself: those of a clip do not sum to 1" in (
        capsys.readouterr().out
    )


def test_the_summary_as_json_is_the_record_and_who_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = record()
    report.show_summary(made, FAILED, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [clip["uri"] for clip in found.pop("failed_clips")] == ["file:///a\nb.wav"]
    assert found == made.summary()


def test_a_preview_tells_what_would_be_done_and_what_is_gone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = [f"file:///{i}\n.wav" for i in range(25)]
    cost = Cost(1.5, 0.25, 0.5, 0.125, 3_000_000, 0.01, "two earlier runs")
    preview = Preview(10, 3, 1, 6, 2_500_000, gone, 0, cost)
    report.show_preview(preview, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ("would work on 6 clips (2.5 MB) of 10 listed; 3 are tagged, 1 given up")
    assert lines[1:4] == [
        "  about     1.5 h of audio: 15 min of one CPU, 30 min of one GPU, 8 min on what was asked "
        "for, 0.01 at the price given",
        "  tables    about 3.0 MB",
        "  rate of   two earlier runs",
    ]
    assert lines[4].startswith("25 tagged recordings are gone")
    assert lines[5] == "  file:///0\\n.wav"
    assert len(lines) == 5 + report.MOST_NAMES + 1
    report.show_preview(preview, as_json=True)
    assert json.loads(capsys.readouterr().out)["gone"] == gone


def test_what_was_passed_over_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    made = record()
    made.skipped = {"unreadable": 1, "link": 1200}
    report.show_summary(made, (), as_json=False)
    cost = Cost(1.5, 0.25, 0.0, None, 3_000_000, None, "two earlier runs")
    report.show_preview(Preview(10, 3, 1, 4, 0, [], 2, cost, made.skipped), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    told = [number for number, line in enumerate(lines) if line.startswith("  skipped ")]
    assert len(told) == 2
    assert {lines[number] for number in told} == {"  skipped   1,200 links, 1 unreadable"}
    assert made.summary()["skipped"] == {"unreadable": 1, "link": 1200}


def test_forgotten_recordings_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    made = record()
    made.n_forgotten = 7
    report.show_summary(made, (), as_json=False)
    cost = Cost(1.5, 0.25, 0.0, None, 3_000_000, None, "two earlier runs")
    report.show_preview(Preview(10, 3, 1, 4, 0, [], 2, cost), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith("; 1,000 tagged before, 0 given up before, 7 forgotten")
    assert lines[-4].endswith("; 3 are tagged, 1 given up, 2 forgotten")
