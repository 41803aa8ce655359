"""An entry of the log: which rows of which staged files count, and which files they become."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

import pyarrow as pa

FAILED: Final = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("final", pa.bool_()),
        pa.field("run_id", pa.string()),
    ]
)


class Failed(NamedTuple):
    """A failed attempt; the columns of ``FAILED``."""

    clip_id: str
    reason: str
    final: bool
    run_id: str


class Staged(NamedTuple):
    """A staged file, its rows that count, and the part of the tables that they go to."""

    file: str
    rows: tuple[int, ...]
    part: int


@dataclass(frozen=True)
class Run:
    """The run that commits; ``date`` (UTC, YYYY-MM-DD) names the partition."""

    run_id: str
    date: str


@dataclass(frozen=True)
class Entry:
    """One entry of the log, and with it all that publication needs to know."""

    number: int
    run_id: str
    run_date: str
    committed_at: str
    writer: str  # random: tells two writers' entries apart
    staged: tuple[Staged, ...]
    clip_ids: tuple[str, ...]  # tagged
    failed: tuple[Failed, ...]
    outputs: dict[str, tuple[str, ...]]  # table -> file of each part that has rows

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        fields: dict[str, Any] = json.loads(data)
        fields["staged"] = tuple(
            Staged(file, tuple(rows), part) for file, rows, part in fields["staged"]
        )
        fields["clip_ids"] = tuple(fields["clip_ids"])
        fields["failed"] = tuple(Failed(*values) for values in fields["failed"])
        fields["outputs"] = {table: tuple(names) for table, names in fields["outputs"].items()}
        return cls(**fields)
