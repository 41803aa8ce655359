"""What ``compact`` and ``forget`` cost, and what they save: files, bytes, the start of a run.

    python -m benchmarks.housekeeping [--nights N] [--clips N] [--write]

- ``nights``: an output of N runs of 20 clips. Seconds and requests for reading the log and for
  looking for missing tables, as a run does at its start, before and after ``compact``; on a local
  folder, and for the log on an S3 server too (SeaweedFS on this machine).
- ``archive``: an output of N clips in entries of 10,000. Seconds and memory of ``compact``, and of
  ``forget`` for one recording afterwards.
- ``10 million clips``: files and bytes before and after, computed from the bytes per clip of
  ``archive`` and from the sizes at which entries and files end.

Clips are made up: 5 s long, 3 tags, two extractors as in the bundled model, embeddings of random
numbers. A request is a page of 1,000 names, or one read, write, or look at a file.
"""

import argparse
import math
import os
import resource
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from benchmarks.reporting import show, write
from pipelines.housekeeping.compact import compact
from pipelines.housekeeping.forget import forget
from pipelines.housekeeping.jobs import CompactJob, ForgetJob
from pipelines.output import compaction, layout, rewriting
from pipelines.output.commit_log import CommitLog
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.recovery import require_tables
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import entry_of, look_into, stage
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import LocalStore, Store, open_store
from pipelines.tagging.committer import COMMIT_CLIPS
from tagger import schema
from tests.support.s3_server import S3Server

T = TypeVar("T")
Row = dict[str, Any]

MODEL: Final = "model-12345678"
TABLES: Final = ("tags", "embeddings", "failures", "clips")
SEGMENTS: Final = 5
EXTRACTORS: Final = ("all-s0", "all-s1")
TAGS: Final = 3
CLIPS_A_NIGHT: Final = 20
MANY: Final = 10_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=10_000)
    parser.add_argument("--clips", type=int, default=250_000)
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        rows = nights(Path(folder, "nights"), flags.nights)
        rows += archive(Path(folder, "archive"), flags.clips)
    for row in rows:
        show("housekeeping", [row])
    if flags.write:
        write("housekeeping", rows)


def nights(folder: Path, n: int) -> list[Row]:
    """The start of a run, before and after ``compact``."""
    fill(folder, n, CLIPS_A_NIGHT)
    name = f"{n} nights"
    before = [{"what": f"{name}, start of a run"} | row for row in starts(folder)]
    size = left(folder)
    merged = apart(compacted, folder)
    after = [{"what": f"{name}, start of a run after compact"} | row for row in starts(folder)]
    return [*before, *after, {"what": f"{name}, compact"} | merged | size | left(folder, " after")]


def archive(folder: Path, n: int) -> list[Row]:
    """``compact`` and ``forget`` on a large output, and what follows for a larger one."""
    fill(folder, n // COMMIT_CLIPS, COMMIT_CLIPS)
    before = bytes_by_table(folder)
    size = left(folder)
    merged = apart(compacted, folder)
    after = bytes_by_table(folder)
    merged |= size | left(folder, " after")
    uri = clip_uri(n // 2)
    forgot = apart(forgotten, folder, uri)
    return [
        {"what": f"{n} clips, compact"} | merged,
        {"what": f"{n} clips, forget one"} | forgot,
        extrapolated(n, before, after),
    ]


def extrapolated(n: int, before: Row, after: Row) -> Row:
    """Files and bytes of ``MANY`` clips, from bytes per clip of n."""
    n_entries, n_merged = MANY // COMMIT_CLIPS, MANY // compaction.MERGED_CLIPS
    tables = [table for table in TABLES if table in before]  # of clips that did not fail
    files_after = sum(
        n_merged * math.ceil(compaction.MERGED_CLIPS * after[table] / n / rewriting.FILE_BYTES)
        for table in tables
    )
    return {
        "what": f"{MANY} clips",
        "table files": n_entries * len(tables),
        "table files after": files_after,
        "log files": 2 * n_entries,
        "log files after": 2 * n_merged,
        "table GB": sum(before[table] for table in tables) * MANY / n / 1e9,
        "table GB after": sum(after[table] for table in tables) * MANY / n / 1e9,
        "log MB": before["log"] * MANY / n / 1e6,
        "log MB after": after["log"] * MANY / n / 1e6,
    }


def starts(folder: Path) -> Iterator[Row]:
    """What a run does first: read the log, and look whether its tables are there."""
    yield {"store": "local"} | apart(start, str(folder), {})
    with tempfile.TemporaryDirectory() as data:
        server = S3Server(Path(data))
        server.start()
        try:
            with patch.dict(os.environ, server.env):
                copied = open_store(server.new_prefix())
                local = open_store(str(folder))
                paths = [layout.SETTINGS, *local.list(layout.LOGS)]
                in_parallel(lambda path: copied.write(path, local.read(path)), paths)
                row = apart(start, copied.root, server.env)
            yield {"store": "S3"} | {name: row[name] for name in ("log s", "log requests")}
        finally:
            server.kill()


def start(url: str, environment: dict[str, str]) -> Row:
    """Seconds and requests, in a process of its own."""
    os.environ |= environment
    store, n_requests = counting(open_store(url))
    begun = time.perf_counter()
    commit_log = CommitLog(store, MODEL)
    read = time.perf_counter()
    n_read = n_requests.total()
    found: Row = {"entries": commit_log.n_entries, "clips": len(commit_log.tagged())}
    found |= {"log s": read - begun, "log requests": n_read}
    if isinstance(store, LocalStore):
        require_tables(commit_log)
        found |= {
            "tables s": time.perf_counter() - read,
            "tables requests": n_requests.total() - n_read,
        }
    return found


def compacted(folder: Path) -> Row:
    """Seconds and memory of ``compact``, an hour after the tables were published."""
    rewriting.SETTLED_S = -1.0  # type: ignore[misc]
    return measured(lambda: compact(CompactJob(out=str(folder))))


def forgotten(folder: Path, uri: str) -> Row:
    """Seconds and memory of ``forget``."""
    rewriting.SETTLED_S = -1.0  # type: ignore[misc]
    return measured(lambda: forget(ForgetJob(out=str(folder), uris=(uri,))))


def measured(action: Callable[[], object]) -> Row:
    begun = time.perf_counter()
    action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"s": time.perf_counter() - begun, "peak MiB": peak}


def apart(measure: Callable[..., Row], *arguments: object) -> Row:
    """The result of ``measure`` in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def counting(store: Store) -> tuple[Store, Counter[str]]:
    """The same store, and how many requests it makes."""
    made: Counter[str] = Counter()

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(type(store), name)

        def method(self: Store, *arguments: Any) -> Any:
            found = original(self, *arguments)
            if name == "_list":
                found = [*found]
                made[name] += max(1, math.ceil(len(found) / 1000))
            else:
                made[name] += 1
            return found

        return method

    names = ("_read", "_stat", "_scan", "_write", "_create", "_list", "_remove")
    kind = type("Counting", (type(store),), {name: counted(name) for name in names})
    return kind(store.root), made


def left(folder: Path, when: str = "") -> Row:
    """Files and bytes of tables and log."""
    store = open_store(str(folder))
    tables = [path for table in TABLES for path in store.list(table)]
    log = store.list(layout.LOGS)
    sizes = {path: Path(folder, path).stat().st_size for path in (*tables, *log)}
    return {
        f"table files{when}": len(tables),
        f"table MB{when}": sum(sizes[path] for path in tables) / 1e6,
        f"log files{when}": len(log),
        f"log MB{when}": sum(sizes[path] for path in log) / 1e6,
    }


def bytes_by_table(folder: Path) -> Row:
    store = open_store(str(folder))
    found = {name: store.list(name) for name in (*TABLES, layout.LOGS)}
    sizes = {
        name: sum(Path(folder, path).stat().st_size for path in paths)
        for name, paths in found.items()
        if paths
    }
    return {"log" if name == layout.LOGS else name: size for name, size in sizes.items()}


def fill(folder: Path, n_entries: int, n_clips: int) -> None:
    """Publish entries of so many clips each."""
    store = open_store(str(folder))
    open_output(store, Settings(TABLES, TAGS, 0.0, "float32", "benchmark"))
    for number in range(n_entries):
        run = Run(f"run-{number}", f"20{number // 365:02d}-{number // 31 % 12 + 1:02d}-15")
        name = stage(clips(number * n_clips, n_clips, run.run_id), store, MODEL)
        files, _ = look_into(store, MODEL, [name])
        entry = entry_of(number, MODEL, run, files, files[0].rows, TABLES)
        store.create(layout.entry(MODEL, number), entry.to_json())
        publish(store, MODEL, entry)


def clip_uri(number: int) -> str:
    return f"s3://archive/2026/station-{number % 97:02d}/recording-{number:08d}.flac"


def clips(first: int, n: int, run_id: str, extractors: Sequence[str] = EXTRACTORS) -> pa.Table:
    """Staged rows of clips that were tagged."""
    rng = np.random.default_rng(first)
    fields = schema.staged("float32")
    numbers = range(first, first + n)
    seconds = np.arange(SEGMENTS) * 0.96
    same = {
        "model_id": MODEL,
        "size_bytes": 400_000,
        "duration_s": 5.0,
        "sample_rate_hz": 44_100,
        "channels": 1,
        "content_start_s": 0.0,
        "content_end_s": 5.0,
        "peak": 0.5,
        "n_segments": SEGMENTS,
        "processed_at": datetime.now(UTC),
        "run_id": run_id,
    }
    columns: dict[str, pa.Array] = {
        name: pa.repeat(pa.scalar(value, fields.field(name).type), n)
        for name, value in same.items()
    }
    columns["uri"] = pa.array(map(clip_uri, numbers), pa.string())
    columns["version"] = pa.array([uuid.UUID(int=i).hex for i in numbers], pa.string())
    columns["clip_id"] = pa.array([rng.bytes(16).hex() for _ in numbers], pa.string())
    columns["tags"] = structs(
        fields.field("tags").type,
        TAGS,
        rank=np.tile(np.arange(1, TAGS + 1, dtype=np.int32), n),
        tag=np.array(["Rain", "Dog", "Engine", "Wind"])[rng.integers(0, 4, TAGS * n)],
        mid=np.array(["/m/1", "/m/2", "/m/3"])[rng.integers(0, 3, TAGS * n)],
        score=rng.random(TAGS * n, np.float32),
    )
    n_vectors = len(extractors) * SEGMENTS
    columns["embedding_rows"] = structs(
        fields.field("embedding_rows").type,
        n_vectors,
        extractor=np.tile(np.repeat(extractors, SEGMENTS), n),
        segment=np.tile(np.arange(SEGMENTS, dtype=np.int32), len(extractors) * n),
        start_s=np.tile(seconds, len(extractors) * n),
        end_s=np.tile(seconds + 0.96, len(extractors) * n),
    )
    size = n_vectors * schema.EMBEDDING_SIZE
    columns["embedding_values"] = pa.ListArray.from_arrays(
        pa.array(np.arange(n + 1) * size, pa.int32()),
        pa.array(rng.random(n * size, np.float32)),
        type=fields.field("embedding_values").type,
    )
    found = [columns.get(field.name, pa.nulls(n, field.type)) for field in fields]
    return pa.Table.from_arrays(found, schema=fields)


def structs(kind: pa.DataType, n_each: int, **values: Any) -> pa.Array:
    """A column of lists of ``n_each`` structs; fields without values are null."""
    fields = [*kind.value_type]
    n = len(next(iter(values.values())))
    arrays = [pa.array(values.get(field.name, [None] * n), field.type) for field in fields]
    content = pa.StructArray.from_arrays(arrays, fields=fields)
    offsets = pa.array(range(0, len(content) + 1, n_each), pa.int32())
    return pa.ListArray.from_arrays(offsets, content, type=kind)


if __name__ == "__main__":
    main()
