"""An entry of the log, and its marker.

An ordinary entry says which rows of which staged files count, and which table files they become. An
entry with ``replaces`` stands for earlier entries: its table files hold the rows of theirs, merged,
made anew, or without the recordings that were forgotten (``rewriting``).
"""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

import pyarrow as pa

from pipelines.output import layout
from pipelines.output.damage import reading, rebuild, seal, unseal
from pipelines.storage.store import Store

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

    @classmethod
    def empty(cls, number: int, run: Run, voided: Iterable[str], replaced: Iterable[int]) -> Self:
        """An entry that holds no rows.

        Parameters
        ----------
        voided : staged files of which nothing counts any more
        replaced : numbers of the entries that it stands for
        """
        return cls(
            number=number,
            run_id=run.run_id,
            run_date=run.date,
            committed_at=now(),
            writer=uuid.uuid4().hex,
            staged=tuple(Staged(file, (), 0) for file in voided),
            clip_ids=(),
            failed=(),
            outputs={},
            replaces=spans(replaced),
        )

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
        return seal(plain)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Decode; what is no entry raises ValueError, TypeError, KeyError or AttributeError."""
        plain = unseal(data)
        plain["staged"] = tuple(
            Staged(file, tuple(rows), part) for file, rows, part in plain["staged"]
        )
        plain["clip_ids"] = tuple(plain["clip_ids"])
        plain["failed"] = tuple(Failed(*values) for values in plain["failed"])
        plain["outputs"] = {table: tuple(names) for table, names in plain["outputs"].items()}
        plain["replaces"] = tuple(Span(*ends) for ends in plain.get("replaces", ()))
        entry = cls(**plain)
        entry._check()
        return entry

    def _check(self) -> None:
        """Raise ValueError for what this program does not write, but somebody's hand may."""
        texts = (self.run_id, self.run_date, self.committed_at, self.writer, *self.clip_ids)
        names = [*(file for file, _, _ in self.staged), *self.rewritten.values()]
        counts = [self.number, *(part for _, _, part in self.staged)]
        counts += [row for _, rows, _ in self.staged for row in rows]
        failed = {tuple(map(type, attempt)) for attempt in self.failed}
        parse = layout.TableFile.parse
        files = [(table, parse(path)) for table, paths in self.outputs.items() for path in paths]
        if not (
            {*map(type, texts), *map(type, names)} <= {str}
            and {*map(type, counts)} <= {int}
            and min(counts) >= 0
            and failed <= {(str, str, bool, str)}
            and all((file.table, file.entry) == (table, self.number) for table, file in files)
            and all(0 <= span.first <= span.last < self.number for span in self.replaces)
            and self.rewritten.keys() <= {file.path for _, file in files}
            and not any("/" in name for name in names)
        ):
            raise ValueError("a value that no entry has")


class Known(NamedTuple):
    """What a driver keeps of an entry that counts."""

    first: int
    tagged: pa.Array
    failed: pa.Table
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, entry: Entry) -> "Known":
        columns = zip(*entry.failed, strict=True) if entry.failed else ([],) * len(FAILED)
        return cls(
            entry.first,
            pa.array(entry.clip_ids, pa.string()),
            pa.table([list(column) for column in columns], schema=FAILED),
            tuple(path for paths in entry.outputs.values() for path in paths),
        )


@dataclass(frozen=True)
class Marker:
    """What is known of an entry once it is published.

    Attributes
    ----------
    rows : table -> rows that the entry has there
    published_at : null where an early version published it
    emptied : table files of replaced entries that hold no rows any more but are still there
        (``rewriting`` says why)
    hashes : path of each of its table files, and of those it emptied -> sha256 of the bytes; none
        where the first version published it
    """

    rows: dict[str, int]
    published_at: str | None = None
    emptied: tuple[str, ...] = ()
    hashes: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        return seal(asdict(self))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Decode; what is no marker raises ValueError, TypeError, KeyError or AttributeError."""
        plain = unseal(data)
        found = cls(**plain | {"emptied": tuple(plain.get("emptied", ()))})
        texts = (*found.rows, *found.emptied, *found.hashes.keys(), *found.hashes.values())
        if not ({*map(type, texts)} <= {str} and {*map(type, found.rows.values())} <= {int}):
            raise ValueError("a value that no marker has")
        if found.published_at is not None:
            datetime.fromisoformat(found.published_at)
        return found


def read_entry(store: Store, model_id: str, number: int) -> Entry:
    """Read an entry of a log; FileNotFoundError too.

    Raises
    ------
    DamagedFile : it was changed, or is no entry of this number and model
    """
    path = layout.entry(model_id, number)
    data = store.read(path)
    with reading(store, path, "entry of a log", rebuild(store)):
        entry = Entry.from_json(data)
        files = [layout.TableFile.parse(p) for paths in entry.outputs.values() for p in paths]
        if entry.number != number or {file.model_id for file in files} - {model_id}:
            raise ValueError("an entry of another number or model")
    return entry


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
