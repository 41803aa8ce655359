"""Staged files: the rows of one batch of clips, which wait for an entry of the log.

A worker stages a batch whole, under a name that no other attempt uses and that holds the hash of
its bytes. A driver reads of it the few columns that decide which rows count. A file with other
bytes than those of its name counts for nothing.
"""

import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.damage import DamagedFile, holds_hash, is_as_named, name_of
from pipelines.output.log_entry import FAILED, Entry, Failed, Run, Staged, now
from pipelines.output.parquet_files import UnreadableError, decode, encode
from pipelines.output.recordings import COLUMNS, recordings
from pipelines.storage.parallel import in_parallel
from pipelines.storage.store import Store

PART_BYTES: Final = 128 << 20
"""Staged bytes that go into one file of a table: what a publisher holds in memory at a time."""

_DECISIVE: Final = pa.schema([*COLUMNS, *(field for field in FAILED if field.name != "clip_id")])
"""The columns that decide which rows count."""


def stage(table: pa.Table, store: Store, model_id: str) -> str:
    """Write one staged file, under a name that no other attempt uses; return the name.

    The name is the receipt of the file: it holds the hash of its bytes.

    Parameters
    ----------
    table : one row per clip, ``schema.staged``; all rows of one run
    """
    data = encode(table, {})
    file = name_of(data)
    store.write(layout.staged(model_id, file), data)
    return file


def read_staged(
    store: Store, model_id: str, name: str, fields: pa.Schema | None = None, whole: bool = True
) -> tuple[int, pa.Table]:
    """Size and rows of a staged file, as far as ``fields`` go; None: all columns as they are.

    Parameters
    ----------
    whole : ``fields`` are all columns; what earlier versions did not stage is null

    Raises
    ------
    FileNotFoundError : it is gone
    DamagedFile : its bytes are not those that were staged, or cannot be read
    """
    path = layout.staged(model_id, name)
    data = store.read(path)
    mend = "the next tag moves it out of the way and does its clips again"
    if not is_as_named(name, data):
        raise DamagedFile(store.root, path, "was changed since it was staged", mend)
    try:
        if not holds_hash(name):  # the first version's; of them only what cannot be read shows
            decode(data)
        return len(data), decode(data, fields, of_any_version=whole)
    except UnreadableError as error:
        raise DamagedFile(store.root, path, f"cannot be read ({error})", mend) from error


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


def look_into(
    store: Store, model_id: str, names: Sequence[str]
) -> tuple[list[StagedFile], list[DamagedFile]]:
    """What decides of staged files, and which of them are damaged; some may be gone."""

    def look(name: str) -> StagedFile | DamagedFile | None:
        try:
            n_bytes, table = read_staged(store, model_id, name, _DECISIVE, whole=False)
        except FileNotFoundError:  # its rows count then
            return None
        except DamagedFile as damaged:
            return damaged
        lists = [table[column].to_pylist() for column in (*FAILED.names, "uri")]
        values = zip(*lists, recordings(table).to_pylist(), strict=True)
        rows = tuple(StagedRow(name, i, *row) for i, row in enumerate(values))
        return StagedFile(name, n_bytes, rows)

    found = in_parallel(look, names)
    return (
        [file for file in found if isinstance(file, StagedFile)],
        [file for file in found if isinstance(file, DamagedFile)],
    )


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
