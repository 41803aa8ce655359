"""A log made anew from the tables: what they tell comes back, and the rest is said."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.cli.main import Exit, main
from pipelines.output.commit_log import CommitLog
from pipelines.output.compaction import compact
from pipelines.output.log_entry import Run
from pipelines.output.lost_settings import rebuild_settings
from pipelines.output.rebuilding import Rebuilt, rebuild_log
from pipelines.output.run_records import RunRecord
from pipelines.output.settings import Settings, open_output, read_settings
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.store import Store, open_store
from tagger.errors import CommandError
from tests.support.damaged import assert_all_there, flipped, tag, told
from tests.support.mortal import Killed, mortal
from tests.support.outputs import (
    MODEL,
    NIGHTS,
    RUN,
    VERSION_1,
    Build,
    add,
    commit,
    content,
    copy_to,
    s3_with_the_faults,
    tables,
)


@pytest.fixture
def without_timeline(settings: Settings) -> Settings:
    return replace(settings, tables=("tags", "embeddings", "failures", "clips"))


@pytest.fixture
def store(out_url: str, without_timeline: Settings, staged_table: Build) -> Store:
    """An output of four nights."""
    opened = open_store(out_url)
    open_output(opened, without_timeline)
    for day, rows in enumerate(NIGHTS):
        add(opened, staged_table(rows), Run(f"r{day + 1}", f"2026-11-{20 + day}"))
    return opened


def rebuild(store: Store) -> Rebuilt:
    return rebuild_log(store, MODEL, Run("again", "2026-12-01"))


def known(store: Store) -> tuple[list[str], list[dict[str, object]]]:
    """What the log says is tagged, and what failed."""
    log = CommitLog(store, MODEL)
    return sorted(log.tagged().to_pylist()), log.failed().to_pylist()


def entries(*numbers: int) -> list[str]:
    return [f"_log/{MODEL}/{number:08d}.json" for number in numbers]


@pytest.mark.parametrize("lost", [(0, 1, 2, 3), (0,), (1, 2), (3,), (0, 3)])
@pytest.mark.parametrize("how", ["gone", "changed", "with markers"])
def test_what_the_tables_tell_comes_back(
    store: Store, without_timeline: Settings, staged_table: Build, lost: Sequence[int], how: str
) -> None:
    before, rows = known(store), tables(store)
    for path in entries(*lost):
        if how == "changed":
            store.write(path, flipped(store.read(path), 500))
        else:
            store.remove([path])
    if how == "with markers":
        store.remove(path.replace(".json", ".published") for path in entries(*lost))
    with pytest.raises(CommandError, match="rebuild-log"):
        tag(store, without_timeline, staged_table)
    made = rebuild(store)
    assert (made.n_made, made.n_kept, made.broken) == (len(lost), 4 - len(lost), [])
    assert known(store) == before
    assert tables(store) == rows
    assert told(store) == []
    assert len(store.list("_damaged")) == (len(lost) if how == "changed" else 0)
    tag(store, without_timeline, staged_table)
    assert_all_there(store, "abcdefghy")
    path = store.list("tags")[0]
    store.write(path, flipped(store.read(path), 999))
    assert any(path in line for line in told(store)), "from now on each byte counts"


@pytest.mark.parametrize("settled_s", [-1.0, 3600.0])
def test_merged_entries_come_back(
    store: Store, staged_table: Build, settled_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.output.rewriting.SETTLED_S", settled_s)
    compact(CommitLog(store, MODEL), RUN)
    add(store, staged_table([("d", None, "r5")]))
    before, rows = known(store), tables(store)
    store.remove(store.list("_log"))
    assert rebuild(store).broken == []
    assert known(store) == before
    assert tables(store) == rows
    assert told(store) == []
    add(store, staged_table([("e", None, "r6")]))
    compact(CommitLog(store, MODEL), RUN)
    assert told(store) == []
    assert known(store)[0] == ["a", "b", "c", "d", "e", "y"]


@pytest.mark.parametrize("settled_s", [-1.0, 3600.0])
def test_a_marker_comes_back(
    store: Store, settled_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.output.rewriting.SETTLED_S", settled_s)
    compact(CommitLog(store, MODEL), RUN)
    (path,) = [path for path in store.list("_log") if path.endswith(".published")]
    before = store.read(path)
    for damaged in (None, flipped(before, 77), b""):
        if damaged is None:
            store.remove([path])
        else:
            store.write(path, damaged)
        assert told(store) != []
        made = rebuild(store)
        assert (made.n_markers, made.n_made, made.broken) == (1, 0, [])
        assert told(store) == []


@pytest.mark.parametrize("table", ["clips", "tags", "embeddings"])
@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_what_is_only_a_part_is_moved_aside_and_done_again(
    store: Store, without_timeline: Settings, staged_table: Build, table: str, damage: str
) -> None:
    (path,) = [path for path in store.list(table) if "00000001-" in path]
    data = store.read(path)
    if damage == "gone":
        store.remove([path])
    else:
        store.write(path, data[:-9])
    store.remove(store.list("_log"))
    made = rebuild(store)
    assert (made.n_made, made.broken) == (3, [])
    (note,) = [note for note in made.notes if "entry 1 cannot be made anew" in note]
    assert "_damaged" in note
    assert known(store)[0] == ["a", "c", "y"]
    aside = store.list("_damaged")
    assert len(aside) == (3 if damage == "gone" else 4)
    tag(store, without_timeline, staged_table)
    assert_all_there(store, "abcdefghy")
    assert told(store) == []


def test_a_number_without_tables_is_said(store: Store) -> None:
    store.remove([path for path in store.list("") if "00000001" in path or "00000003" in path])
    made = rebuild(store)
    assert (made.n_made, made.n_kept, made.broken) == (0, 2, [])
    (note,) = made.notes
    assert note.startswith("of entries 1 there are no table files")
    assert known(store)[0] == ["a"]


def test_what_waits_is_not_lost(
    store: Store, without_timeline: Settings, staged_table: Build
) -> None:
    """An entry that was not published is gone with the log; what it named is staged still."""
    commit(store, staged_table([("d", None, "r5")], "staged before"))
    stage(staged_table([("e", None, "r5")], "staged before"), store, MODEL)
    store.remove(store.list("_log"))
    assert rebuild(store).broken == []
    tag(store, without_timeline, staged_table)
    extra = {row["clip_id"]: row["extra"] for row in tables(store)["clips"]}
    assert (extra["d"], extra["e"], extra["f"]) == ("staged before", "staged before", "")
    assert_all_there(store, "abcdefghy")


@s3_with_the_faults
@pytest.mark.usefixtures("without_fsync")
def test_killed_at_every_single_change(
    store: Store, without_timeline: Settings, staged_table: Build
) -> None:
    store.write(entries(1)[0], b"{}")
    store.remove([*entries(0), *(path for path in store.list("tags") if "00000003" in path)])
    store.remove(entries(3))
    before = content(store)
    for n in range(100):
        copy = copy_to(f"{store.root}-{n}", before)
        try:
            rebuild(mortal(copy, n))
            survived = True
        except Killed:
            survived = False
        assert rebuild(copy).broken == [], n
        assert known(copy)[0] == ["a", "b"], n
        tag(copy, without_timeline, staged_table)
        assert_all_there(copy)
        assert told(copy) == [], n
        if survived:
            break
    assert n > 8


def test_settings_come_back_from_the_record_of_a_run(
    store: Store, without_timeline: Settings, staged_table: Build
) -> None:
    before = replace(read_settings(store), front_end="")
    config = {"top_k": 5, "threshold": 0.0, "embedding_dtype": "float32", "timeline": False}
    RunRecord("r1", ["tag"], {"top_k": 7}, MODEL).write(store)
    RunRecord("r2", ["tag"], config, MODEL).write(store)
    store.write("_runs/r3.json", b"{")
    for damaged in (None, b"", flipped(store.read("_output.json"), 400)):
        if damaged is None:
            store.remove(["_output.json"])
        else:
            store.write("_output.json", damaged)
        with pytest.raises(CommandError, match=r"_output\.json .*rebuild-log"):
            tag(store, without_timeline, staged_table)
        assert main(["status", store.root]) == Exit.DAMAGED
        assert "_runs/r2.json" in (rebuild_settings(store) or "")
        assert replace(read_settings(store), front_end="") == before
    assert rebuild_settings(store) is None


def test_thresholds_of_the_card_come_back_from_a_record(store: Store) -> None:
    config = {"top_k": 5, "threshold": "card", "embedding_dtype": "float32", "timeline": True}
    RunRecord("r1", ["tag"], config | {"event_threshold": "card"}, MODEL).write(store)
    store.remove(["_output.json"])
    assert "_runs/r1.json" in (rebuild_settings(store) or "")
    found = read_settings(store)
    assert (found.threshold, found.event_threshold) == ("card", "card")


def test_settings_come_back_as_far_as_the_tables_tell(store: Store) -> None:
    before = read_settings(store)
    store.remove(["_output.json"])
    assert "as far as the tables tell" in (rebuild_settings(store) or "")
    found = read_settings(store)
    assert {*before.tables} <= {*found.tables}, "a run may have found no event at all"
    assert found.embedding_dtype == before.embedding_dtype
    assert found.top_k == 2, "the largest rank that is there"


def test_no_output_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rebuild-log", str(tmp_path)]) == Exit.COMMAND
    assert "holds no output" in capsys.readouterr().err


def test_the_command_says_what_it_did(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.remove(["_output.json", *store.list("_log")])
    assert main(["rebuild-log", store.root]) == Exit.DONE
    said = capsys.readouterr().out
    assert "_output.json is made anew as far as the tables tell" in said
    assert f"model {MODEL}: 4 entries made anew with 4 clips, 0 markers; 0 entries kept" in said
    assert main(["status", store.root, "--verify"]) == Exit.DONE
    path = store.list("tags")[0]
    store.remove([path])
    assert main(["rebuild-log", store.root]) == Exit.DAMAGED
    assert f"WRONG  entry 0, {path} is missing" in capsys.readouterr().out


def test_an_output_of_the_first_version(tmp_path: Path) -> None:
    """It gets hashes by the way."""
    folder = Path(shutil.copytree(VERSION_1, tmp_path / "out"))
    store = open_store(str(folder))
    (model,) = status(store, verify="bytes").models
    assert model.n_unhashed == 5
    assert main(["rebuild-log", str(folder)]) == Exit.DONE
    shutil.rmtree(folder / "_log")
    (folder / "_output.json").unlink()
    assert main(["rebuild-log", str(folder)]) == Exit.DONE
    (model,) = status(store, verify="bytes").models
    assert (model.n_tagged, model.broken, model.n_unhashed) == (3, (), 0)
    rows = sum(pq.read_metadata(file).num_rows for file in (folder / "clips").rglob("*.parquet"))
    assert rows == 3
    first = open_store(str(VERSION_1)).read("_output.json")
    assert read_settings(store) == Settings.from_json(first)
