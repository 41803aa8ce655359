"""Tables of text stand in columns, whatever is in them."""

from datetime import UTC, date, datetime
from decimal import Decimal

from pipelines.runtime.text_table import LONGEST_CELL, as_text, plain, text_table


def test_a_table() -> None:
    rows = [("Rain", 2, 0.5, None), ("Dog_bark", 10, 1234567.0, True)]
    assert list(text_table(["tag", "n", "x", "y"], rows)) == [
        "tag      │ n  │ x           │ y",
        "─────────┼────┼─────────────┼─────",
        "Rain     │  2 │         0.5 │ NULL",
        "Dog_bark │ 10 │ 1.23457e+06 │ true",
    ]


def test_a_table_without_rows_has_its_head() -> None:
    assert list(text_table(["a", "bc"], [])) == ["a │ bc", "──┼───"]


def test_names_are_visible_wide_letters_take_two_columns_and_long_cells_are_cut() -> None:
    rows = [("録音", 1), ("cafe\u0301", 2), ("a\x1b[31m\nb", 3), ("x" * 200, 4), (["\u202e"], 5)]
    head, rule, *lines = text_table(["na\nme", "n"], rows)
    assert head.startswith("na\\nme ")
    assert rule.index("┼") == LONGEST_CELL + 1
    assert lines[0].startswith("録音" + " " * (LONGEST_CELL - 4) + " │ ")
    assert lines[1].startswith("cafe\u0301" + " " * (LONGEST_CELL - 4) + " │ ")
    assert lines[2].startswith(r"a\x1b[31m\nb ")
    assert lines[3].startswith("x" * (LONGEST_CELL - 1) + "… │")
    assert lines[4].startswith('["\\u202e"]')


def test_values_for_programs() -> None:
    when = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
    value = {"at": [when, date(2026, 1, 2)], "n": Decimal(7), "x": float("nan"), "b": b"\x01"}
    wanted = {"at": ["2026-11-26T01:02:03+00:00", "2026-01-02"], "n": 7, "x": None, "b": "01"}
    assert plain(value) == wanted
    assert as_text([1, "a", None]) == '[1, "a", null]'
    assert [as_text(each) for each in (True, 0.1, Decimal("1.5"), when)] == [
        *("true", "0.1", "1.5", "2026-11-26T01:02:03+00:00"),
    ]
