"""``status`` tells the truth: before, during and after publication, and about damaged tables."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.cli.main import Exit, main
from pipelines.output.commit_log import CommitLog
from pipelines.output.damage import unseal
from pipelines.output.failed_clips import FailedClip
from pipelines.output.lock import Lock
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.run_records import RunRecord, RunState
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import stage
from pipelines.output.status import ModelStatus, status
from pipelines.output.verification import How
from pipelines.storage.store import Store, open_store
from pipelines.training.step_records import StepRecord
from tagger.errors import CommandError
from tests.support.outputs import s3_with_the_faults

MODEL = "m-1"
RUN = Run("run-1", "2026-11-22")
ROWS = [
    ("a", None, "run-1"),
    ("b", None, "run-1"),
    ("c", "empty", "run-1"),
    ("d", "timeout", "run-1"),
]
FAILED = [("c", "empty"), ("d", "timeout")]


@pytest.fixture
def store(out_url: str, settings: Settings) -> Store:
    opened = open_store(out_url)
    open_output(opened, settings)
    return opened


def only_model(store: Store, verify: How | None = "bytes") -> ModelStatus:
    (model,) = status(store, verify).models
    return model


def test_not_an_output(tmp_path) -> None:
    with pytest.raises(CommandError, match="no output"):
        status(open_store(str(tmp_path)))


def test_follows_a_batch_from_staged_to_published(store: Store, staged_table: Callable) -> None:
    file = stage(staged_table(ROWS), store, MODEL)
    assert only_model(store) == ModelStatus(MODEL, 0, 0, {}, 0, 1, verified=True)
    entry = CommitLog(store, MODEL).commit(RUN, [file])
    assert entry is not None
    committed = only_model(store)
    assert (committed.n_tagged, committed.n_unpublished, committed.n_staged) == (2, 1, 0)
    assert committed.open_failures == {"empty": 1, "timeout": 1}
    assert committed.broken == ()
    assert committed.failed_clips == (), "no table names them yet"
    publish(store, MODEL, entry)
    published = only_model(store, verify=None)
    failed = tuple(
        FailedClip(clip, "run-1", f"file:///{clip}", reason, "") for clip, reason in FAILED
    )
    assert published == ModelStatus(MODEL, 1, 2, {"empty": 1, "timeout": 1}, 0, 0, failed)
    assert only_model(store).verified


Change = Callable[[pa.Table], pa.Table]


def rewrite(store: Store, table: str, change: Change) -> None:
    """Change the rows of a table, whose only file must be there."""
    (path,) = store.list(table)
    changed = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(store.read(path)))), changed)
    store.write(path, changed.getvalue())


def without(**values: object) -> Change:
    """Drop the rows that have all these values."""

    def change(rows: pa.Table) -> pa.Table:
        drop = [pc.equal(rows[name], value) for name, value in values.items()]
        return rows.filter(pc.invert(reduce(pc.and_, drop)))

    return change


def doubled(rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows, rows])


def first_doubled(rows: pa.Table) -> pa.Table:
    """As many rows as before, one of them twice instead of the last."""
    return pa.concat_tables([rows[:1], rows[:-1]])


@pytest.fixture
def published(store: Store, staged_table: Callable) -> Store:
    stage(staged_table(ROWS), store, MODEL)
    recover(CommitLog(store, MODEL), RUN, partial(publish, store, MODEL))
    assert not only_model(store).broken
    return store


@s3_with_the_faults
@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("clips", doubled, ["clips: 2 rows too many", "clips: 2 rows that the log does not"]),
        ("clips", without(clip_id="a"), ["clips: 1 rows are missing", "clips: 1 rows that the"]),
        ("clips", without(clip_id="a"), ["tags: of 1 clips that are not in clips"]),
        ("clips", without(clip_id="a"), ["embeddings: of 1 clips that are not in clips"]),
        ("clips", without(clip_id="a"), ["timeline: of 1 clips that are not in clips"]),
        (
            "clips",
            first_doubled,
            ["clips: 1 rows that the log counts", "clips: 1 rows that the log"],
        ),
        ("tags", without(clip_id="a"), ["tags: 2 rows are missing", "tags: none of 1 clips"]),
        ("tags", without(clip_id="a", rank=2), ["tags: 1 rows are missing"]),
        ("tags", without(clip_id="a", rank=1), ["tags: 1 clips whose ranks are not 1, 2, 3"]),
        ("tags", doubled, ["tags: 4 rows too many", "tags: 2 clips whose ranks"]),
        ("tags", first_doubled, ["tags: 1 clips whose ranks"]),
        ("embeddings", without(clip_id="a"), ["embeddings: 6 rows are missing"]),
        ("embeddings", without(clip_id="a", segment=2), ["embeddings: 1 clips without segments"]),
        ("embeddings", without(clip_id="a", extractor="b"), ["embeddings: 1 clips without segm"]),
        ("embeddings", without(extractor="b"), ["embeddings: 6 rows are missing"]),
        ("embeddings", without(segment=2), ["embeddings: 2 clips without segments"]),
        ("embeddings", doubled, ["embeddings: 12 rows too many", "embeddings: 2 clips without"]),
        ("embeddings", first_doubled, ["embeddings: 2 clips without"]),
        ("timeline", without(clip_id="a"), ["timeline: 1 rows are missing"]),
        ("timeline", doubled, ["timeline: 2 rows too many"]),
        ("failures", without(clip_id="c"), ["failures: 1 rows that the log counts are missing"]),
        ("failures", doubled, ["failures: 2 rows that the log does not count"]),
    ],
)
def test_verify_finds_damage(published: Store, table: str, change: Change, said: list[str]) -> None:
    rewrite(published, table, change)
    assert not only_model(published, verify=None).broken
    broken = only_model(published).broken
    for line in said:
        assert any(found.startswith(f"entry 0, {line}") for found in broken), broken


@s3_with_the_faults
@pytest.mark.parametrize("table", ["clips", "tags", "embeddings", "timeline", "failures"])
@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "another table"])
def test_verify_finds_lost_files(
    published: Store, table: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = published.list(table)
    if damage == "gone":
        published.remove([path])
    elif damage == "another table":
        rewrite(
            published, table, lambda rows: rows.rename_columns([n * 2 for n in rows.schema.names])
        )
    else:
        published.write(path, published.read(path)[:1000] if damage == "cut" else b"")
    broken = only_model(published).broken
    problem = {"gone": "is missing", "empty": "was changed", "cut": "was changed"}.get(damage)
    assert any(f"entry 0, {path} {problem or 'was changed'}" in line for line in broken)
    assert main(["status", published.root]) == Exit.DONE
    assert main(["status", published.root, "--verify"]) == Exit.DAMAGED
    said = capsys.readouterr().out.splitlines()
    assert f"  WRONG     {broken[0]}" in said
    assert "restore" in said[-1]
    if damage != "gone":
        said_by_counts = only_model(published, "counts").broken
        assert f"entry 0, {path} cannot be read" in said_by_counts


def test_verify_finds_files_that_the_log_does_not_name(published: Store) -> None:
    (path,) = published.list("tags")
    copy = path.replace("00000000", "00000001")
    published.write(copy, published.read(path))
    (line,) = only_model(published).broken
    assert line.startswith(f"{copy}: the log does not name it; its entry is lost")
    copy = path.replace("00000000-0", "00000000-7")
    published.write(copy, published.read(path))
    assert f"{copy}: the log does not name it; remove it" in only_model(published).broken
    published.remove([path.replace("00000000", "00000001")])
    published.remove([copy, *published.list("_log")])
    assert not status(published).models
    broken = only_model(published).broken
    assert len(broken) == 6 and all("rebuild-log" in line for line in broken)


def test_verify_finds_a_clip_that_the_log_counts_twice(published: Store) -> None:
    again = unseal(published.read(f"_log/{MODEL}/00000000.json"))
    by_hand = again | {"number": 1, "outputs": {}}
    published.write(f"_log/{MODEL}/00000001.json", json.dumps(by_hand).encode())
    assert "log: 2 clips are counted twice" in only_model(published).broken


def test_verify_finds_that_an_entry_cannot_be_published(
    store: Store, staged_table: Callable
) -> None:
    file = stage(staged_table(ROWS), store, MODEL)
    CommitLog(store, MODEL).commit(RUN, [file])
    store.remove([f"_staging/{MODEL}/{file}"])
    (line,) = only_model(store).broken
    path = f"_staging/{MODEL}/{file}"
    assert line == f"entry 0, which waits to be published: {path} is missing"


def test_with_a_threshold_clips_may_be_without_tags(
    tmp_path: Path, staged_table: Callable, settings: Settings
) -> None:
    store = open_store(str(tmp_path))
    open_output(store, replace(settings, threshold=0.5))
    rows = staged_table(ROWS)
    at = rows.schema.get_field_index("tags")
    none = pa.array([[]] * len(rows), rows.schema.field(at).type)
    stage(rows.set_column(at, rows.schema.field(at), none), store, MODEL)
    recover(CommitLog(store, MODEL), RUN, partial(publish, store, MODEL))
    assert not only_model(store).broken


def states(store: Store) -> dict[str, str]:
    return {run["run_id"]: run["state"] for run in status(store).runs}


def test_runs_and_how_they_ended(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for name, state in (("1", RunState.COMPLETE), ("2", RunState.INTERRUPTED), ("3", None)):
        record = RunRecord(name, ["tag"], {}, MODEL)
        if state:
            record.end(state)
        record.write(store)
    RunRecord("4", ["tag"], {}, MODEL).write(store)
    with Lock(store, MODEL, "4"):
        seen = states(store)
    assert seen == {"1": "complete", "2": "interrupted", "3": "killed", "4": "running"}
    assert states(store)["4"] == "killed", "without a lock"
    StepRecord("5", "fit", ["fit"], {}, "").write(store)
    assert len(states(store)) == 4, "no step of the training"
    assert main(["status", store.root]) == Exit.DONE
    assert capsys.readouterr().out.count("run ") == 4


def test_a_run_whose_process_was_killed(store: Store) -> None:
    """It leaves its lock; the process is of this host, and known to be gone."""
    script = f"""
import os, signal
from pipelines.output.damage import unseal
from pipelines.output.failed_clips import FailedClip
from pipelines.output.lock import Lock
from pipelines.output.run_records import RunRecord
from pipelines.storage.store import open_store
store = open_store({store.root!r})
with Lock(store, {MODEL!r}, "1"):
    RunRecord("1", ["tag"], {{}}, {MODEL!r}).write(store)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    assert len(store.list("_lock")) == 1
    assert states(store) == {"1": "killed"}


def test_a_run_that_ends_while_it_is_looked_at(store: Store) -> None:
    record = RunRecord("1", ["tag"], {}, MODEL)
    record.write(store)

    class Late(type(store)):  # type: ignore[misc]
        def read(self, path: str) -> bytes:
            if path.startswith("_lock"):
                record.end(RunState.COMPLETE)
                record.write(store)
            return bytes(super().read(path))

    assert states(Late(store.root)) == {"1": "complete"}
