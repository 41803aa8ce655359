"""Failed clips by name: the newest first, only those that are asked for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipelines.output.commit_log import CommitLog
from pipelines.output.failed_clips import failed_clips
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store

MODEL = "m-1"


@pytest.fixture
def store(tmp_path: Path, settings: Settings, staged_table: Callable) -> Store:
    """Three nights: c fails twice and is then tagged, e goes on failing, x fails on the last."""
    opened = open_store(str(tmp_path))
    open_output(opened, settings)
    nights = {
        "2026-11-22": [("a", None), ("c", "timeout"), ("e", "timeout")],
        "2026-11-23": [("c", "timeout"), ("e", "vanished")],
        "2026-11-24": [("c", None), ("e", "timeout"), ("x", "empty")],
    }
    for night, clips in nights.items():
        stage(staged_table([(*clip, night) for clip in clips], note=night), opened, MODEL)
        recover(CommitLog(opened, MODEL), Run(night, night), partial(publish, opened, MODEL))
    return opened


def test_of_a_run(store: Store) -> None:
    found = failed_clips(store, MODEL, lambda clip: clip.run_id == "2026-11-23")
    assert [(clip.uri, clip.reason, clip.detail) for clip in found] == [
        ("file:///c", "timeout", "2026-11-23"),
        ("file:///e", "vanished", "2026-11-23"),
    ]


def test_the_newest_come_first_and_no_more_than_asked_for(store: Store) -> None:
    nights = [clip.run_id for clip in failed_clips(store, MODEL, lambda clip: True)]
    assert nights == sorted(nights, reverse=True)
    assert len(nights) == 6
    assert len(failed_clips(store, MODEL, lambda clip: True, 3)) == 3


def test_earlier_days_are_not_read(store: Store) -> None:
    found = failed_clips(store, MODEL, lambda clip: True, since="2026-11-23")
    assert {clip.run_id for clip in found} == {"2026-11-23", "2026-11-24"}


def test_what_is_no_table_is_passed_over(store: Store) -> None:
    newest = store.list("failures")[-1]
    store.write(newest, b"PAR1")
    assert {clip.run_id for clip in failed_clips(store, MODEL, lambda clip: True)} == {
        "2026-11-22",
        "2026-11-23",
    }


def test_status_names_the_open_failures_with_their_last_reason(store: Store) -> None:
    (model,) = status(store).models
    assert model.open_failures == {"timeout": 1, "empty": 1}
    assert [(clip.clip_id, clip.run_id, clip.reason) for clip in model.failed_clips] == [
        ("e", "2026-11-24", "timeout"),
        ("x", "2026-11-24", "empty"),
    ]
    (model,) = status(store, most_failures=1).models
    assert len(model.failed_clips) == 1
