"""Every clip of a plan is carried out once, however much audio the batches turn out to hold."""

import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.inputs.extras import KEPT, Extras
from pipelines.output.tally import Tally
from pipelines.tagging import plan as plans
from pipelines.tagging.plan import Plan, Receipt, receipts
from tagger.schema import LISTING

ROW = 10  # patches


def plan_of(n_clips: int, bounds: list[int]) -> Plan:
    rows = [
        {"clip_id": f"{i:032x}", "uri": f"file:///{i}", "version": "1", "size_bytes": i}
        for i in range(n_clips)
    ]
    nothing: Any = None
    clips = pa.Table.from_pylist(rows, schema=LISTING)
    return Plan(clips, np.array(bounds), nothing, nothing, nothing, "float32")


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_every_clip_once(data: st.DataObject) -> None:
    """As on GPUs: a batch ends before the clip that does not fit its row; a whole one is any."""
    patches = data.draw(st.lists(st.integers(0, 2 * ROW), min_size=1, max_size=60))
    cuts = data.draw(st.sets(st.integers(1, len(patches)))) | {0, len(patches)}
    plan = plan_of(len(patches), sorted(cuts))
    done: list[int] = []
    largest = 0

    def carry_out(plan: Plan) -> Iterator[Receipt]:
        nonlocal largest
        for number in range(len(plan.bounds) - 1):
            numbers = plan.batch(number)["size_bytes"].to_pylist()
            assert numbers
            assert not plan.whole or len(numbers) == 1
            in_row = np.cumsum([patches[i] for i in numbers])
            n_clips = len(numbers) if plan.whole else int((in_row <= ROW).sum())
            largest = max(largest, 0 if plan.whole or not n_clips else int(in_row[n_clips - 1]))
            done.extend(numbers[:n_clips])
            yield Receipt(number, "file" if n_clips else "", n_clips, Tally())

    files = [receipt.file for receipt in receipts(plan, carry_out)]
    assert sorted(done) == list(range(len(patches)))
    assert set(files) == {"file"}, "nothing is told of a batch that has no file"
    assert largest <= ROW


def test_what_is_left_follows_in_smaller_batches() -> None:
    plan = plan_of(100, [0, 100])
    sizes = []

    def carry_out(plan: Plan) -> Iterator[Receipt]:
        sizes.append(np.diff(plan.bounds).tolist())
        for number, size in enumerate(sizes[-1]):
            yield Receipt(number, "file", min(size, 20), Tally())

    assert sum(receipt.n_clips for receipt in receipts(plan, carry_out)) == 100
    assert sizes == [[100], [10] * 8]


@given(st.integers(0, 9), st.integers(1, 12))
def test_a_part_of_a_plan(first: int, n: int) -> None:
    plan = plan_of(30, list(range(0, 31, 3)))
    part = plan.between(first, first + n)
    numbers = range(first, min(first + n, 10))
    assert len(part.bounds) - 1 == len(numbers)
    assert len(part.clips) == 3 * len(numbers)
    for i, number in enumerate(numbers):
        assert part.batch(i).equals(plan.batch(number))


def test_further_columns_travel_with_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are given the texts, the driver holds their places."""
    extras = Extras()
    texts = [None if i % 3 else f"{i}" * 100 for i in range(30)]
    plan = plan_of(30, list(range(0, 31, 3)))
    places = pa.array([extras.keep(text) for text in texts], pa.int64())
    kept = plan.clips.set_column(KEPT.get_field_index("extra"), "extra", places)
    plan = replace(plan, clips=kept, extras=extras)
    for most_batches, most_bytes, n_parts in ((100, 1 << 20, 1), (4, 1 << 20, 3), (100, 600, 3)):
        monkeypatch.setattr(plans, "MOST_BATCHES", most_batches)
        monkeypatch.setattr(plans, "MOST_EXTRAS_BYTES", most_bytes)
        parts = [(first, pickle.loads(pickle.dumps(part))) for first, part in plan.parts()]
        assert len(parts) == n_parts
        batches = [
            (first + i, part.batch(i)) for first, part in parts for i in range(len(part.bounds) - 1)
        ]
        assert [number for number, _ in batches] == list(range(10))
        assert all(batch.equals(plan.batch(number)) for number, batch in batches)
        clips = pa.concat_tables([batch for _, batch in batches])
        assert clips.schema == LISTING
        assert clips["extra"].to_pylist() == texts
