"""``status`` tells the truth: before, during and after publication, and about damaged tables."""

import io
from collections.abc import Callable
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.entry import Run
from pipelines.ledger import Ledger, recover
from pipelines.output import Settings, open_output
from pipelines.publication import publish, stage
from pipelines.runs import RunRecord, RunState
from pipelines.status import ModelStatus, status
from pipelines.store import Store, open_store
from tagger.errors import CommandError

MODEL = "m-1"
RUN = Run("run-1", "2026-11-22")
ROWS = [
    ("a", None, "run-1"),
    ("b", None, "run-1"),
    ("c", "empty", "run-1"),
    ("d", "timeout", "run-1"),
]


@pytest.fixture
def store(out_url: str, settings: Settings) -> Store:
    opened = open_store(out_url)
    open_output(opened, settings)
    return opened


def only_model(store: Store, verify: bool = True) -> ModelStatus:
    (model,) = status(store, verify).models
    return model


def test_not_an_output(tmp_path) -> None:
    with pytest.raises(CommandError, match="no output"):
        status(open_store(str(tmp_path)))


def test_follows_a_batch_from_staged_to_published(store: Store, staged_table: Callable) -> None:
    file = stage(staged_table(ROWS), store, MODEL)
    assert only_model(store) == ModelStatus(MODEL, 0, 0, {}, 0, 1)
    entry = Ledger(store, MODEL).commit(RUN, [file])
    assert entry is not None
    committed = only_model(store)
    assert (committed.n_tagged, committed.n_unpublished, committed.n_staged) == (2, 1, 0)
    assert committed.open_failures == {"empty": 1, "timeout": 1}
    assert "not published" in committed.broken[0]
    publish(store, MODEL, entry)
    assert only_model(store) == ModelStatus(MODEL, 1, 2, {"empty": 1, "timeout": 1}, 0, 0)


def rewrite(store: Store, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    (path,) = store.list(table)
    changed = io.BytesIO()
    pq.write_table(change(pq.read_table(io.BytesIO(store.read(path)))), changed)
    store.write(path, changed.getvalue())


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        ("clips", lambda rows: pa.concat_tables([rows, rows[:1]]), "clips: 1 rows are there twice"),
        ("clips", lambda rows: rows[1:], "clips: 1 clips that the log counts are missing"),
        ("clips", lambda rows: rows[1:], "tags: of 1 clips that are not in clips"),
        ("clips", lambda rows: rows[1:], "embeddings: of 1 clips that are not in clips"),
        ("tags", lambda rows: rows[1:], "tags: 1 clips whose ranks are not 1, 2, 3"),
        ("tags", lambda rows: pa.concat_tables([rows, rows]), "tags: 2 clips whose ranks"),
        ("embeddings", lambda rows: rows[1:], "embeddings: 1 clips whose segments are not 0"),
        ("embeddings", lambda rows: rows[6:], "embeddings: none of 1 clips"),
    ],
)
def test_verify_finds_damage(
    store: Store,
    staged_table: Callable,
    table: str,
    change: Callable[[pa.Table], pa.Table],
    said: str,
) -> None:
    stage(staged_table(ROWS), store, MODEL)
    recover(Ledger(store, MODEL), RUN, partial(publish, store, MODEL))
    assert not only_model(store).broken
    rewrite(store, table, change)
    assert not only_model(store, verify=False).broken
    assert any(line.startswith(said) for line in only_model(store).broken)


def test_runs_and_how_they_ended(store: Store) -> None:
    for name, state in (("1", RunState.COMPLETE), ("2", RunState.INTERRUPTED), ("3", None)):
        record = RunRecord(name, ["tag"], {}, MODEL)
        if state:
            record.end(state)
        record.write(store)
    store.write(f"_lock/{MODEL}.json", b'{"run_id": "4"}')
    RunRecord("4", ["tag"], {}, MODEL).write(store)
    states = {run["run_id"]: run["state"] for run in status(store).runs}
    assert states == {"1": "complete", "2": "interrupted", "3": "killed", "4": "running"}
