"""Outputs made without audio: entries committed and published, and what readers see of them."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Entry, Run
from pipelines.output.publication import publish
from pipelines.output.recovery import recover
from pipelines.output.staging import stage
from pipelines.output.status import status
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store, open_store
from tagger import schema

MODEL = "m-1"
RUN = Run("run-1", "2026-11-22")
Rows = Sequence[tuple[str, str | None, str]]
Build = Callable[..., pa.Table]

s3_with_the_faults = pytest.mark.parametrize(
    "out_url",
    ["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.faults])],
    indirect=True,
)
"""For a long test: on a local output always, on S3 only with ``make test-faults``."""

VERSION_1 = Path(__file__).parents[1] / "golden" / "version_1" / "output"

NIGHTS = [
    [("a", None, "r1"), ("x", "timeout", "r1")],
    [("b", None, "r2"), ("x", "empty", "r2")],
    [("y", "timeout", "r3")],
    [("c", None, "r4"), ("y", None, "r4")],
]
"""Rows of four runs, as ``staged_table`` takes them: failures that pass, and one that does not."""

WHOLE = {"clips": 1, "tags": 2, "embeddings": 6, "timeline": 1, "events": 1}
"""Rows per tagged clip that ``staged_table`` builds."""


def commit(store: Store, table: pa.Table, run: Run = RUN, model_id: str = MODEL) -> Entry:
    """Stage and commit a batch."""
    entry = CommitLog(store, model_id).commit(run, [stage(table, store, model_id)])
    assert entry is not None
    return entry


def add(store: Store, table: pa.Table, run: Run = RUN, model_id: str = MODEL) -> Entry:
    """Stage, commit and publish a batch."""
    entry = commit(store, table, run, model_id)
    publish(store, model_id, entry)
    return entry


def recover_all(store: Store, model_id: str = MODEL) -> None:
    """What a run does first, and last."""
    recover(CommitLog(store, model_id), RUN, partial(publish, store, model_id))


def content(store: Store) -> dict[str, bytes]:
    """All files of an output."""
    paths = store.list("")
    return dict(zip(paths, in_parallel(store.read, paths), strict=True))


def copy_to(url: str, files: dict[str, bytes]) -> Store:
    """An output with these files."""
    store = open_store(url)
    in_parallel(lambda path: store.write(path, files[path]), files)
    return store


def tables(store: Store) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables as a reader of plain globs finds them, sorted."""
    found = {}
    for name in schema.tables("float32"):
        files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(name)]
        rows = [row for file in files for row in file.to_pylist()]
        found[name] = sorted(rows, key=lambda row: json.dumps(row, default=str))
    return found


def counts(store: Store) -> dict[str, Counter[str]]:
    """How many rows each clip has in each table."""
    return {name: Counter(row["clip_id"] for row in rows) for name, rows in tables(store).items()}


def assert_none_twice(store: Store) -> None:
    """A reader of plain globs finds no clip twice, and all of each clip that is in ``clips``."""
    seen = counts(store)
    for name, n_rows in WHOLE.items():
        assert set(seen[name].values()) <= {n_rows}, name
        assert set(seen["clips"]) <= set(seen[name]), name
    failures = Counter((row["clip_id"], row["run_id"]) for row in tables(store)["failures"])
    assert set(failures.values()) <= {1}


def files_that_hold(store: Store, *names: str) -> list[str]:
    """Paths of all files with one of these texts in them, Parquet as it reads, or in their path."""
    found = []
    for path in store.list(""):
        data = store.read(path)
        texts = [path.encode(), data]
        if path.endswith(".parquet"):
            texts.append(repr(pq.read_table(io.BytesIO(data)).to_pylist()).encode())
        if any(name.encode() in text for name in names for text in texts):
            found.append(path)
    return found


def assert_verified(store: Store) -> None:
    """Nothing is wrong, and nothing waits."""
    found = status(store, verify="bytes")
    assert found.n_to_erase == 0
    for model in found.models:
        assert model.broken == ()
        assert (model.n_unpublished, model.n_staged) == (0, 0)
    assert store.list("_staging") == store.list("_rewriting") == []
