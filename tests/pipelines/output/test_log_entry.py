"""Numbers of entries as spans."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipelines.output.log_entry import Marker, spans


@given(st.lists(st.integers(0, 30)))
def test_spans_are_the_same_numbers_without_gaps_between(numbers: list[int]) -> None:
    found = spans(numbers)
    assert [n for span in found for n in range(span.first, span.last + 1)] == sorted(set(numbers))
    assert all(a.last + 1 < b.first for a, b in pairwise(found))


def test_a_marker_of_an_early_version() -> None:
    marker = Marker.from_json(b'{"rows": {"clips": 2}}')
    assert marker == Marker({"clips": 2})
    assert Marker.from_json(marker.to_json()) == marker
