"""Staged files: the rows of one batch of clips, which wait for an entry of the log.

A worker stages a batch whole, under a name that no other attempt uses. A driver reads of it the few
columns that decide which rows count.
"""

import uuid
from collections.abc import Sequence
from typing import BinaryIO, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.output import layout
from pipelines.output.log_entry import FAILED, Entry, Failed, Run, Staged, now
from pipelines.output.parquet_files import encode
from pipelines.output.recordings import recordings
from pipelines.storage.store import Store

PART_BYTES: Final = 128 << 20
"""Staged bytes that go into one file of a table: what a publisher holds in memory at a time."""


def stage(table: pa.Table, store: Store, model_id: str) -> str:
    """Write one staged file, under a name that no other attempt uses; return the name.

    Parameters
    ----------
    table : one row per clip, ``schema.staged``; all rows of one run
    """
    file = f"{uuid.uuid4().hex}.parquet"
    store.write(layout.staged(model_id, file), encode(table, {}))
    return file


class StagedRow(NamedTuple):
    """What of a staged row decides whether it counts.

    Attributes
    ----------
    reason : None when it was tagged
    recording : the URI of the recording that it is of, which ``uri`` may be a track of
    """

    file: str
    row: int
    clip_id: str
    reason: str | None
    final: bool | None
    run_id: str
    uri: str
    recording: str


class StagedFile(NamedTuple):
    """A staged file that was looked into."""

    name: str
    n_bytes: int
    rows: tuple[StagedRow, ...]

    @classmethod
    def read(cls, store: Store, model_id: str, name: str) -> "StagedFile | None":
        """Read the few columns that decide; None when the file is gone, its rows then count."""

        def read_columns(opened: BinaryIO) -> "StagedFile":
            n_bytes = opened.seek(0, 2)
            opened.seek(0)
            columns = [*FAILED.names, "uri"]
            table = pq.ParquetFile(opened).read([*columns, "version"], use_threads=False)
            lists = [table[column].to_pylist() for column in columns]
            values = zip(*lists, recordings(table).to_pylist(), strict=True)
            return cls(
                name, n_bytes, tuple(StagedRow(name, i, *row) for i, row in enumerate(values))
            )

        try:
            return store.scan(layout.staged(model_id, name), read_columns)
        except FileNotFoundError:
            return None


def entry_of(
    number: int,
    model_id: str,
    run: Run,
    files: Sequence[StagedFile],
    rows: Sequence[StagedRow],
    tables: Sequence[str],
) -> Entry:
    """The entry in which these rows of these staged files count."""
    counting: dict[str, list[int]] = {file.name: [] for file in files}
    for row in rows:
        counting[row.file].append(row.row)
    part_of = _parts(files)
    failed = [
        Failed(row.clip_id, row.reason, bool(row.final), row.run_id)
        for row in rows
        if row.reason is not None
    ]
    with_tags = sorted({part_of[row.file] for row in rows if row.reason is None})
    with_failures = sorted({part_of[row.file] for row in rows if row.reason is not None})
    outputs = {
        table: tuple(
            layout.TableFile(table, model_id, run.date, number, part).path
            for part in (with_failures if table == "failures" else with_tags)
        )
        for table in tables
    }
    return Entry(
        number=number,
        run_id=run.run_id,
        run_date=run.date,
        committed_at=now(),
        writer=uuid.uuid4().hex,
        staged=tuple(
            Staged(file, tuple(sorted(rows)), part_of[file]) for file, rows in counting.items()
        ),
        clip_ids=tuple(row.clip_id for row in rows if row.reason is None),
        failed=tuple(failed),
        outputs={table: paths for table, paths in outputs.items() if paths},
    )


def _parts(files: Sequence[StagedFile]) -> dict[str, int]:
    """Number the part of each file: ``PART_BYTES`` at most, or one file that is larger."""
    found: dict[str, int] = {}
    part, filled = 0, 0
    for file in files:
        if filled and filled + file.n_bytes > PART_BYTES:
            part, filled = part + 1, 0
        found[file.name] = part
        filled += file.n_bytes
    return found
