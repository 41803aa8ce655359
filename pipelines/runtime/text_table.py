"""Rows as a table of text, its columns one below the other."""

import json
import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any, Final

from pipelines.runtime.visible import visible

LONGEST_CELL: Final = 80


def text_table(names: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """The lines of a table: numbers to the right, NULL for what is not there.

    Parameters
    ----------
    names : of the columns
    rows : values of any kind; a text that is longer than ``LONGEST_CELL`` is cut
    """
    values = [list(row) for row in rows]
    cells = [[_cut(visible(shown(value))) for value in row] for row in values]
    heads = [_cut(visible(name)) for name in names]
    widths = [max(map(_width, column)) for column in zip(heads, *cells, strict=True)]
    yield _row(heads, widths, [False] * len(heads))
    yield "─┼─".join("─" * width for width in widths)
    for row, texts in zip(values, cells, strict=True):
        yield _row(texts, widths, [_is_number(value) for value in row])


def shown(value: Any) -> str:
    """A value as text."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else as_text(value)


def as_text(value: Any) -> str:
    """A value as text that loses nothing: as JSON where it is a list or a struct."""
    if isinstance(value, list | dict | bool):
        return json.dumps(plain(value), ensure_ascii=False)
    return str(value if isinstance(value, float) else plain(value))


def plain(value: Any) -> Any:
    """The value as JSON has it: times in ISO 8601, bytes in hexadecimal digits, NaN as null."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | None) else str(value)


def _row(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    padded = []
    for cell, width, right in zip(cells, widths, to_right, strict=True):
        space = " " * (width - _width(cell))
        padded.append(space + cell if right else cell + space)
    return " │ ".join(padded).rstrip()


def _cut(cell: str) -> str:
    return cell if len(cell) <= LONGEST_CELL else f"{cell[: LONGEST_CELL - 1]}…"


def _width(cell: str) -> int:
    """Columns of a terminal that a text takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in cell)
    marks = sum(unicodedata.category(letter) in ("Mn", "Me") for letter in cell)
    return len(cell) + wide - marks


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)
