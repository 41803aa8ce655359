"""``compact`` as a command: all models, whom it waits for, what it tells."""

import json
from pathlib import Path

import pytest

from pipelines.cli.main import Exit, main
from pipelines.housekeeping.compact import Compacted, compact
from pipelines.housekeeping.jobs import CompactJob
from pipelines.output import rewriting
from pipelines.output.forgotten import Forgotten, bury
from pipelines.output.lock import Lock
from pipelines.output.settings import Settings, open_output
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError
from tests.support.outputs import (
    MODEL,
    Build,
    add,
    assert_verified,
    counts,
    files_that_hold,
    tables,
)


@pytest.fixture
def store(
    out_url: str, settings: Settings, staged_table: Build, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """An output of two models, with four and two entries."""
    monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)
    opened = open_store(out_url)
    open_output(opened, settings)
    for clip in "abcd":
        add(opened, staged_table([(clip, None, "r")]))
    for clip in "ab":
        add(opened, staged_table([(clip, None, "r"), ("f", "empty", clip)]), model_id="m-2")
    return opened


def test_all_models(store: Store) -> None:
    before = tables(store)
    assert compact(CompactJob(out=store.root)) == (
        Compacted(MODEL, 20, 5, 4, 1, 0),
        Compacted("m-2", 12, 6, 2, 1, 0),
    )
    assert tables(store) == before
    assert_verified(store)
    assert store.list("_lock") == []
    assert compact(CompactJob(out=store.root))[0] == Compacted(MODEL, 5, 5, 1, 1, 0)


def test_what_a_forget_began_is_completed_and_tombstones_are_merged(store: Store) -> None:
    for number, clip in enumerate("abc"):
        bury(store, f"forget-{number}", [f"file:///{clip}"])
    compact(CompactJob(out=store.root))
    assert counts(store)["clips"] == {"d": 1}
    assert files_that_hold(store, *(f"file:///{clip}" for clip in "abc")) == []
    assert len(store.list("_forgotten")) == 2
    forgotten = Forgotten.read(store)
    assert [f"file:///{clip}" in forgotten for clip in "abcd"] == [True, True, True, False]
    assert_verified(store)


def test_a_job_at_work_is_not_disturbed(store: Store) -> None:
    before = store.list("")
    with (
        Lock(store, "m-2", "at-work", beat_s=0.2),
        pytest.raises(CommandError, match="at-work"),
    ):
        compact(CompactJob(out=store.root))
    assert store.list("") == before


def test_no_output(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds no output"):
        compact(CompactJob(out=str(tmp_path)))


def test_the_command_line(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "SETTLED_S", 3600.0)
    assert main(["compact", store.root]) == Exit.DONE
    assert capsys.readouterr().out.splitlines() == [
        "model m-1: 20 files became 25, 4 entries 1",
        "  20 of these files have no rows any more; a compact an hour from now removes them",
        "model m-2: 12 files became 18, 2 entries 1",
        "  12 of these files have no rows any more; a compact an hour from now removes them",
    ]
    monkeypatch.setattr(rewriting, "SETTLED_S", -1.0)
    assert main(["compact", store.root, "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["models"][0] == {
        "model_id": "m-1",
        "n_files_before": 25,
        "n_files": 5,
        "n_entries_before": 1,
        "n_entries": 1,
        "n_emptied": 0,
    }
