"""Dividing a listing into batches."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runtime.work import estimated_seconds
from pipelines.tagging.batches import LONGEST_BATCH_S, SHORTEST_BATCH_S, divide
from tagger.schema import LISTING


def listing(sizes: list[int], suffix: str = ".ogg") -> pa.Table:
    rows = [
        {"clip_id": f"{i:032x}", "uri": f"file:///{i}{suffix}", "version": "1", "size_bytes": size}
        for i, size in enumerate(sizes)
    ]
    return pa.Table.from_pylist(rows, schema=LISTING)


sizes = st.lists(
    st.one_of(st.integers(0, 10**6), st.integers(10**7, 10**9)), min_size=1, max_size=300
)


@settings(deadline=None, max_examples=50)
@given(sizes, st.integers(1, 64))
def test_every_clip_is_in_exactly_one_batch(given_sizes: list[int], n_workers: int) -> None:
    clips = listing(given_sizes)
    table, bounds = divide(clips, n_workers)
    assert sorted(table["clip_id"].to_pylist()) == sorted(clips["clip_id"].to_pylist())
    assert table.schema == LISTING
    assert bounds[0] == 0
    assert bounds[-1] == len(clips)
    assert np.all(np.diff(bounds) > 0)


@settings(deadline=None, max_examples=50)
@given(sizes, st.integers(1, 64))
def test_batches_are_balanced_and_long_clips_stand_alone_in_front(
    given_sizes: list[int], n_workers: int
) -> None:
    table, bounds = divide(listing(given_sizes), n_workers)
    seconds = estimated_seconds(table)
    work = np.add.reduceat(seconds, bounds[:-1])
    total = seconds.sum()
    target = np.clip(total / (8 * n_workers), SHORTEST_BATCH_S, LONGEST_BATCH_S)
    alone = seconds >= target
    n_alone = int(alone.sum())
    assert alone[:n_alone].all()
    assert np.all(np.diff(seconds[:n_alone]) <= 0)
    assert bounds[: n_alone + 1].tolist() == list(range(n_alone + 1))
    left = np.cumsum(work[::-1])[::-1][n_alone:]  # before each batch
    wanted = np.clip(left / (2 * n_workers), SHORTEST_BATCH_S, target)
    last_clip = seconds[bounds[1:] - 1][n_alone:]
    assert np.all(work[n_alone:] - last_clip < wanted + 1e-6)
    assert np.all(work[n_alone:-1] > wanted[:-1] - 1e-6)


@pytest.mark.parametrize("n_workers", [1, 2, 7, 64])
def test_workers_that_begin_at_different_times_end_together(n_workers: int) -> None:
    table, bounds = divide(listing([160_000] * 20_000), n_workers)
    work = np.add.reduceat(estimated_seconds(table), bounds[:-1])
    free_at = np.linspace(0, 900, n_workers)
    for batch in work:
        free_at[free_at.argmin()] += batch
    assert np.ptp(free_at) <= SHORTEST_BATCH_S + 12


def test_work_is_estimated_from_size_and_suffix() -> None:
    second_of_wav = listing([176_400, 17_640_000], ".WAV")
    assert estimated_seconds(second_of_wav).tolist() == [3.0, 102.0]
    assert estimated_seconds(listing([160_000])).tolist() == [12.0]
    assert estimated_seconds(listing([200_000], ".mp4")).tolist() == [3.0]


def test_a_hundred_thousand_clips_make_batches_of_half_an_hour() -> None:
    _, bounds = divide(listing([80_000] * 100_000), 2)
    assert 300 < len(bounds) < 500
