"""How far a batch is, told as its events pass."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.runtime.work import estimated_seconds
from pipelines.tagging.board import Done, LocalBoard
from pipelines.tagging.telling import telling
from tagger.audio import Signal
from tagger.errors import ClipError, Reason
from tagger.logmel import SEGMENT_S
from tagger.schema import LISTING

CLIPS = pa.Table.from_pylist(
    [
        {"clip_id": name, "uri": name, "version": "", "size_bytes": size}
        for name, size in (("a.wav", 882_000), ("b.wav", 0), ("c.wav", 1_764_000))
    ],
    schema=LISTING,
)
A_S, B_S, C_S = 7.0, 2.0, 12.0
"""What the clips are taken for: two seconds each, and their size at 44.1 kHz stereo."""


def signal(content_s: float) -> Signal:
    return Signal(content_s + 1.0, 16_000, 1, 0.5, content_s + 0.5, 1.0, None)


def patches(n: int) -> np.ndarray:
    return np.zeros((n, 96, 64), np.float32)


EVENTS = [
    (0, signal(10 * SEGMENT_S)),
    (0, patches(4)),
    (0, patches(6)),
    (1, ClipError(Reason.EMPTY, "")),
    (2, signal(100 * SEGMENT_S)),
    (2, patches(25)),
    (2, patches(25)),
]


def test_after_each_event_what_is_done_is_told() -> None:
    assert estimated_seconds(CLIPS).tolist() == [A_S, B_S, C_S]
    told: list[Done] = []
    assert list(telling(EVENTS, CLIPS, told.append, 0.0)) == EVENTS
    assert [done.n_segments for done in told] == [0, 4, 10, 10, 10, 35, 60]
    of_c = A_S + B_S
    assert [done.expected_s for done in told] == pytest.approx(
        [0.0, 0.4 * A_S, A_S, of_c, of_c, of_c + C_S / 4, of_c + C_S / 2]
    )


def test_nothing_is_told_of_a_short_batch() -> None:
    told: list[Done] = []
    assert list(telling(EVENTS, CLIPS, told.append)) == EVENTS
    assert told == []


def test_the_board_adds_up_the_batches_at_hand() -> None:
    board = LocalBoard()
    assert board.total() == Done(0, 0.0)
    board.write(1, Done(10, 1.0))
    board.write(2, Done(5, 2.0))
    board.write(1, Done(20, 3.0))
    assert board.total() == Done(25, 5.0)
    board.wipe(1)
    board.wipe(7)
    assert board.total() == Done(5, 2.0)
