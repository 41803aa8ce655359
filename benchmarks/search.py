"""What a search costs: seconds, rate per core, memory; beside DuckDB and usearch.

    python -m benchmarks.search [--segments N] [--peers] [--write]

Outputs of N segments are made, in clips of five segments: with one extractor, with two as the
bundled model has them, and with one in float16. Embeddings are made up: a thousand kinds of sound
with variations, more than half of the numbers 0 as in those of the bundled model. They are read
from the page cache ("warm"). Each way answers the same 5 queries in a process of its own, in which
one query came before; seconds are the median of a query, CPU those of all its threads.

- ``search``: ``pipelines.searching.search``, from listing the files to named answers; on all cores
  of this machine, then on one. From the latter follows what 100 million segments take.
- ``DuckDB`` (``--peers``): ``array_cosine_similarity`` over the same files, ordered, the best 20.
- ``usearch`` (``--peers``; ``pip install usearch``): exactly, and with its index of the first
  50,000 segments, over embeddings that are in memory already. To get them there, and to build the
  index, is told apart.

Recall is the share of the 20 best segments, by float64, that are among the answers.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.housekeeping import EXTRACTORS, MODEL, SEGMENTS, TABLES, TAGS, apart, clips
from benchmarks.reporting import show, write
from pipelines.output import layout
from pipelines.output.log_entry import Run
from pipelines.output.publication import publish
from pipelines.output.settings import Settings, open_output
from pipelines.output.staging import entry_of, look_into, stage
from pipelines.storage.store import open_store
from pipelines.tagging.committer import COMMIT_CLIPS
from tagger import schema
from tagger.logmel import SEGMENT_S

Row = dict[str, Any]
Vectors = npt.NDArray[np.float32]
Ask = Callable[[Vectors], Iterable[int]]

TOP: Final = 20
N_QUERIES: Final = 5
N_KINDS: Final = 1000
MANY: Final = 100_000_000
MOST_INDEXED: Final = 50_000  # to index a million takes the better part of an hour
TRUTHS: Final = "truths.json"
IN_SQL: Final = """WITH best AS (
        SELECT clip_id, start_s,
            array_cosine_similarity(embedding::FLOAT[128], ?::FLOAT[128]) AS score
        FROM embeddings WHERE extractor = ? ORDER BY score DESC LIMIT ?)
    SELECT uri, start_s FROM best JOIN clips USING (clip_id)"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--segments", type=int, default=1_000_000)
    parser.add_argument("--peers", action="store_true", help="measure DuckDB and usearch too")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    rows: list[Row] = []
    for extractors, dtype in ((1, "float32"), (2, "float32"), (1, "float16")):
        with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
            peers = flags.peers and (extractors, dtype) == (1, "float32")
            about = fill(folder, flags.segments, EXTRACTORS[:extractors], dtype)
            for row in of_output(folder, flags.segments, peers):
                rows.append(about | row)
                show("search", rows[-1:])
    if flags.write:
        write("search", rows, many=of_many(rows))


def of_output(folder: str, n_segments: int, peers: bool) -> Iterator[Row]:
    """Every way of searching in an output."""
    n_cores = len(os.sched_getaffinity(0))
    apart(find_truths, folder)
    for cores in dict.fromkeys((n_cores, 1)):
        row = apart(ours, folder, cores)
        yield {"how": "search"} | row | {"segments per CPU s": n_segments / row["CPU s"]}
    if peers:
        yield {"how": "DuckDB"} | apart(duckdbs, folder, n_cores)
        yield {"how": "usearch exact"} | apart(usearchs, folder, n_cores, False)
        yield {"how": "usearch index"} | apart(usearchs, folder, n_cores, True)


def of_many(rows: Sequence[Row]) -> Row:
    """What ``MANY`` segments take, from the rate of one core."""
    found: Row = {"segments": MANY, "formula": "segments / segments per CPU s / cores"}
    for row in rows:
        if row["how"] == "search" and row["cores"] == 1:
            core_s = MANY / row["segments per CPU s"]
            found[f"{row['extractors']} extractors, {row['dtype']}"] = {
                "s on 2 cores": core_s / 2,
                "s on 64 cores": core_s / 64,
                "GB": row["MB"] * MANY / row["segments"] / 1e3,
            }
    return found


def ours(folder: str, n_cores: int) -> Row:
    from pipelines.searching.search import search

    def ask(query: Vectors) -> Iterable[int]:
        found = search(folder, query, top=TOP)
        return map(number_of, found["uri"].to_pylist(), found["start_s"].to_pylist())

    return measured(folder, n_cores, ask)


def duckdbs(folder: str, n_cores: int) -> Row:
    import duckdb

    connection = duckdb.connect(config={"threads": n_cores})
    for table in ("embeddings", "clips"):
        files = connection.read_parquet(f"{folder}/{table}/**/*.parquet", hive_partitioning=False)
        files.create_view(table)

    def ask(query: Vectors) -> Iterable[int]:
        found = connection.execute(IN_SQL, [query.tolist(), EXTRACTORS[0], TOP]).fetchall()
        return [number_of(*row) for row in found]

    return measured(folder, n_cores, ask)


def usearchs(folder: str, n_cores: int, index: bool) -> Row:
    """With an index, or exactly."""
    try:
        from usearch.index import Index, MetricKind
        from usearch.index import search as compare
    except ImportError:
        return {"note": "not installed"}
    begun = time.perf_counter()
    vectors = np.concatenate(list(embeddings(folder)))
    about: Row = {"load s": time.perf_counter() - begun}
    truths = None
    if index:
        vectors = vectors[:MOST_INDEXED]
        about["segments"] = len(vectors)
        truths = truths_of([vectors])
        begun = time.perf_counter()
        built = Index(ndim=vectors.shape[1], metric=MetricKind.Cos, dtype="f32")
        built.add(np.arange(len(vectors)), vectors, threads=n_cores)
        about["build s"] = time.perf_counter() - begun

    def ask(query: Vectors) -> Iterable[int]:
        if index:
            found = built.search(query, TOP)
        else:
            found = compare(vectors, query[None], TOP, MetricKind.Cos, exact=True, threads=n_cores)
        return map(int, np.ravel(found.keys))

    return measured(folder, n_cores, ask, truths) | about


def measured(folder: str, n_cores: int, ask: Ask, truths: list[list[int]] | None = None) -> Row:
    """Seconds of a query, memory, and recall; the first query is not counted."""
    os.sched_setaffinity(0, {*range(n_cores)})
    truths = truths or json.loads(Path(folder, TRUTHS).read_text())
    seconds, cpu_s, hits = [], [], 0
    for query, truth in zip(queries(), truths, strict=True):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        hits += len({*ask(query)} & {*truth})
        seconds.append(time.perf_counter() - begun)
        cpu_s.append(time.process_time() - cpu_begun)
    return {
        "cores": n_cores,
        "s": statistics.median(seconds[1:]),
        "CPU s": statistics.median(cpu_s[1:]),
        "first s": seconds[0],
        "recall": hits / TOP / len(truths),
        "peak MiB": peak_mib(),
    }


def peak_mib() -> float:
    """Largest resident set of this process (``ru_maxrss`` begins with that of its parent)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def find_truths(folder: str) -> Row:
    """Keep the best segments of each query beside the tables."""
    Path(folder, TRUTHS).write_text(json.dumps(truths_of(embeddings(folder))))
    return {}


def truths_of(parts: Iterable[Vectors]) -> list[list[int]]:
    """The numbers of the best embeddings for each query, by float64."""
    directions = queries().astype(np.float64).T
    scores = []
    for vectors in parts:
        rows = vectors.astype(np.float64)
        scores.append(rows @ directions / np.linalg.norm(rows, axis=1, keepdims=True))
    best: list[list[int]] = np.argsort(-np.concatenate(scores), axis=0)[:TOP].T.tolist()
    return best


def embeddings(folder: str) -> Iterator[Vectors]:
    """The embeddings of the first extractor, file by file, in the order of segments' numbers."""
    for path in sorted(Path(folder, "embeddings").rglob("*.parquet")):
        rows = pq.ParquetFile(path).read(["extractor", "embedding"])
        rows = rows.filter(pc.equal(rows["extractor"], EXTRACTORS[0])).combine_chunks()
        values = rows["embedding"].combine_chunks().flatten().to_numpy()
        yield values.astype(np.float32).reshape(-1, schema.EMBEDDING_SIZE)


def number_of(uri: str, start_s: float) -> int:
    """The number of a segment among all of an output."""
    clip = int(uri.rpartition("-")[2].partition(".")[0])
    return clip * SEGMENTS + round(start_s / SEGMENT_S)


def queries() -> Vectors:
    """Embeddings to search for."""
    return sounds(np.random.default_rng(99), N_QUERIES + 1)


def sounds(rng: np.random.Generator, n: int) -> Vectors:
    """Made-up embeddings (n, 128): variations of ``N_KINDS`` kinds."""
    kinds = np.random.default_rng(0).standard_normal((N_KINDS, schema.EMBEDDING_SIZE), np.float32)
    vectors = kinds[rng.integers(N_KINDS, size=n)]
    vectors += 0.8 * rng.standard_normal(vectors.shape, np.float32)
    sounding: Vectors = np.maximum(vectors - 0.2, 0)
    return sounding


def fill(folder: str, n_segments: int, extractors: Sequence[str], dtype: str) -> Row:
    """Publish clips in entries as ``tag`` does; what the output is."""
    store = open_store(folder)
    open_output(store, Settings(TABLES, TAGS, 0.0, dtype, "benchmark"))
    run = Run("run", "2026-01-15")
    fields = schema.staged(dtype)
    for number in range(n_segments // SEGMENTS // COMMIT_CLIPS):
        rows = clips(number * COMMIT_CLIPS, COMMIT_CLIPS, run.run_id, extractors)
        vectors = sounds(np.random.default_rng(number), len(extractors) * SEGMENTS * COMMIT_CLIPS)
        place = fields.get_field_index("embedding_values")
        values = pa.ListArray.from_arrays(
            rows["embedding_values"].combine_chunks().offsets,
            pa.array(vectors.astype(dtype).ravel()),
            type=fields.field(place).type,
        )
        rows = rows.set_column(place, fields.field(place), values)
        files, _ = look_into(store, MODEL, [stage(rows, store, MODEL)])
        entry = entry_of(number, MODEL, run, files, files[0].rows, TABLES)
        store.create(layout.entry(MODEL, number), entry.to_json())
        publish(store, MODEL, entry)
    tables = [*Path(folder, "embeddings").rglob("*.parquet")]
    return {
        "segments": n_segments,
        "extractors": len(extractors),
        "dtype": dtype,
        "files": len(tables),
        "MB": sum(file.stat().st_size for file in tables) / 1e6,
    }


if __name__ == "__main__":
    main()
