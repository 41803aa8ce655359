"""An entry of the log, and its marker.

An ordinary entry says which rows of which staged files count, and which table files they become. An
entry with ``replaces`` stands for earlier entries: its table files hold the rows of theirs, merged,
or without the recordings that were forgotten (``rewriting``).
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
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


class Span(NamedTuple):
    """Numbers of entries, both ends included."""

    first: int
    last: int


@dataclass(frozen=True)
class Run:
    """The run that commits; ``date`` (UTC, YYYY-MM-DD) names the partition."""

    run_id: str
    date: str


@dataclass(frozen=True)
class Entry:
    """One entry of the log, and with it all that publication needs to know.

    Attributes
    ----------
    writer : random; tells the entries of two writers apart
    staged : every file that was considered, also those of which no row counts
    clip_ids : clips that were tagged
    failed : attempts that failed
    outputs : table -> path of each of its files
    replaces : numbers of the earlier entries that this one stands for
    rewritten : path of a table file -> file of the rewriting folder that becomes it
    """

    number: int
    run_id: str
    run_date: str
    committed_at: str
    writer: str
    staged: tuple[Staged, ...]
    clip_ids: tuple[str, ...]
    failed: tuple[Failed, ...]
    outputs: dict[str, tuple[str, ...]]
    replaces: tuple[Span, ...] = ()
    rewritten: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> int:
        """The least number that the entry stands for; its place in the order of the log."""
        return min([self.number, *(span.first for span in self.replaces)])

    def replaced(self) -> Iterator[int]:
        """The numbers that it replaces."""
        for span in self.replaces:
            yield from range(span.first, span.last + 1)

    def to_json(self) -> bytes:
        """Encode. What only a rewritten entry has is left out of the others."""
        plain = asdict(self)
        for name in ("replaces", "rewritten"):
            if not plain[name]:
                del plain[name]
        return json.dumps(plain, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        plain: dict[str, Any] = json.loads(data)
        plain["staged"] = tuple(
            Staged(file, tuple(rows), part) for file, rows, part in plain["staged"]
        )
        plain["clip_ids"] = tuple(plain["clip_ids"])
        plain["failed"] = tuple(Failed(*values) for values in plain["failed"])
        plain["outputs"] = {table: tuple(names) for table, names in plain["outputs"].items()}
        plain["replaces"] = tuple(Span(*ends) for ends in plain.get("replaces", ()))
        return cls(**plain)


@dataclass(frozen=True)
class Marker:
    """What is known of an entry once it is published.

    Attributes
    ----------
    rows : table -> rows that the entry has there
    published_at : null where an early version published it
    emptied : table files of replaced entries that hold no rows any more but are still there
        (``rewriting`` says why)
    """

    rows: dict[str, int]
    published_at: str | None = None
    emptied: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        plain: dict[str, Any] = json.loads(data)
        return cls(**plain | {"emptied": tuple(plain.get("emptied", ()))})


def spans(numbers: Iterable[int]) -> tuple[Span, ...]:
    """Sum numbers up as spans without gaps, in order."""
    found: list[Span] = []
    for number in sorted(set(numbers)):
        if found and found[-1].last == number - 1:
            found[-1] = Span(found[-1].first, number)
        else:
            found.append(Span(number, number))
    return tuple(found)


def now() -> str:
    """The time (UTC) as the log writes it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
