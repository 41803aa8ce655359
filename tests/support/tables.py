"""The tables of an output as a reader finds them."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.storage.store import open_store
from tagger import schema

Tables = dict[str, list[dict[str, Any]]]


def read_tables(out: str) -> Tables:
    """All rows of all tables of an output; tables without files are left out."""
    store = open_store(out)
    found: Tables = {}
    for table in schema.tables("float32"):
        files = [pq.read_table(io.BytesIO(store.read(path))) for path in store.list(table)]
        if files:
            found[table] = pa.concat_tables(files).to_pylist()
    return found


def by_name(found: Tables) -> dict[str, Any]:
    """What each file of the collection came to, wherever it and the output lie."""
    names = {row["clip_id"]: Path(row["uri"]).name for row in found["clips"]}
    assert len(set(names.values())) == len(names) == len(found["clips"]), "a clip twice"
    came_to: dict[str, Any] = {name: {"tags": {}, "embeddings": {}} for name in names.values()}
    for row in found["tags"]:
        came_to[names[row["clip_id"]]]["tags"].setdefault((row["rank"], row["tag"]), []).append(
            row["score"]
        )
    for row in found["embeddings"]:
        place = row["extractor"], row["segment"], round(row["start_s"], 6)
        came_to[names[row["clip_id"]]]["embeddings"].setdefault(place, []).append(row["embedding"])
    return came_to


def assert_same(found: Tables, expected: Tables) -> None:
    """Every clip once, with exactly its tags and embeddings, and the failures."""
    after, before = by_name(found), by_name(expected)
    assert set(after) == set(before)
    for name, wanted in before.items():
        for table in ("tags", "embeddings"):
            assert set(after[name][table]) == set(wanted[table]), (name, table)
            for place, values in wanted[table].items():
                np.testing.assert_allclose(after[name][table][place], values, atol=1e-5)
    assert _failures(found) == _failures(expected)


def _failures(found: Tables) -> Counter[tuple[str, str]]:
    return Counter((Path(row["uri"]).name, row["reason"]) for row in found.get("failures", ()))
