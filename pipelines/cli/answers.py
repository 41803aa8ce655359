"""What ``query`` shows of an answer: a table for people, CSV, or JSON."""

import csv
import io
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, Final

import pyarrow as pa

from pipelines.cli.terminal import json_text, show_lines
from pipelines.runtime import standard_streams
from pipelines.runtime.text_table import as_text, plain, text_table
from pipelines.runtime.visible import visible
from tagger.errors import CommandError

MOST_ROWS: Final = 1000

Rows = list[list[Any]]


def _table(answer: pa.RecordBatchReader) -> None:
    rows = (row for batch in _batches(answer) for row in batch)
    first = list(islice(rows, MOST_ROWS))
    show_lines(text_table(answer.schema.names, first))
    if next(rows, None) is not None:
        show_lines([f"… and more than these {MOST_ROWS:,} rows: --format csv writes them all"])


def _csv(answer: pa.RecordBatchReader) -> None:
    for rows in chain([[answer.schema.names]], _batches(answer)):
        if not standard_streams.put(_csv_text(rows)):
            return


def _csv_text(rows: Rows) -> str:
    text = io.StringIO()
    cells = ([visible(as_text(v)) if v is not None else None for v in row] for row in rows)
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()


def _json(answer: pa.RecordBatchReader) -> None:
    """An array with an object for each row, which stands in a line."""
    names, before = answer.schema.names, "["
    if twice := [name for name in names if names.count(name) > 1]:
        raise CommandError(f"two columns are called {twice[0]}: name one of them with AS")
    for batch in _batches(answer):
        objects = (dict(zip(names, map(plain, row), strict=True)) for row in batch)
        lines = ",\n".join(map(json_text, objects))
        if not standard_streams.put(f"{before}\n{lines}"):
            return
        before = ","
    standard_streams.put("[]\n" if before == "[" else "\n]\n")


def _batches(answer: pa.RecordBatchReader) -> Iterator[Rows]:
    """Rows as Python has them, some thousand at a time; columns may have the same name."""
    for batch in answer:
        if batch.num_rows:
            yield [list(row) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)]


SHOW: Final[dict[str, Callable[[pa.RecordBatchReader], None]]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
}
"""By the name of the format."""
