"""What a run is going to do: which clips, in which batches, how, and into which output."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.inputs.access import ANY, Access
from pipelines.inputs.extras import Extras
from pipelines.output.tally import Tally
from pipelines.runtime.limits import Limits
from pipelines.storage.store import Store
from pipelines.tagging.board import Board, LocalBoard
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import MOST_PACKED_BYTES, MOST_PATCHES
from tagger.configs import Precision

MOST_BATCHES: Final = 10_000  # in the object store at a time: some thousand hours of audio
MOST_EXTRAS_BYTES: Final = 128 << 20  # with them, further columns of manifests

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What workers need to know, the model apart.

    Attributes
    ----------
    clips : all clips to work on, schema ``LISTING``; ``KEPT`` where there are ``extras``
    bounds : (n_batches + 1,) int64; batch i is rows ``bounds[i]`` to ``bounds[i + 1]``
    precision : arithmetic of the extractors; None: what the hardware computes in
    most_patches : a batch ends with the clip that brings it to so many; its other clips are left
    extractor_batch : patches a pass through the extractors; None: what suits the hardware
    most_packed_bytes : of the patches that travel to a GPU as one row
    whole : each batch is a recording that one worker takes from reading to staging
    board : where workers tell how far they are in a batch
    access : how clips are read
    extras : what the further columns of manifests hold; None: the clips have it themselves
    """

    clips: pa.Table
    bounds: npt.NDArray[np.int64]
    store: Store
    rows: RowSettings
    limits: Limits
    precision: Precision | None
    most_patches: int = MOST_PATCHES
    extractor_batch: int | None = None
    most_packed_bytes: int = MOST_PACKED_BYTES
    whole: bool = False
    board: Board = field(default_factory=LocalBoard)
    access: Access = ANY
    extras: Extras | None = None

    def batch(self, number: int) -> pa.Table:
        """The clips of a batch, schema ``LISTING``."""
        begin, end = self.bounds[number], self.bounds[number + 1]
        clips = self.clips.slice(begin, end - begin)
        return clips if self.extras is None else self.extras.restored(clips)

    @property
    def patch_dtype(self) -> str:
        """How patches travel to GPUs: float16 is finer than the bfloat16 they end in."""
        return "float32" if self.precision == "float32" else "float16"

    def between(self, first: int, last: int) -> Self:
        """The same for the batches ``first`` to ``last - 1``, numbered from 0."""
        bounds = self.bounds[first : last + 1]
        clips = self.clips.slice(bounds[0], bounds[-1] - bounds[0])
        return replace(self, clips=clips, bounds=bounds - bounds[0])

    def parts(self) -> Iterator[tuple[int, Self]]:
        """Plans that can be shipped, each with the number of its first batch in this one.

        A part after the other, so that no node has to hold all clips that were listed.
        """
        n_batches = len(self.bounds) - 1
        size_bytes = self.extras.size_bytes(self.clips) if self.extras else 0
        n_parts = max(-(-n_batches // MOST_BATCHES), -(-size_bytes // MOST_EXTRAS_BYTES), 1)
        step = -(-n_batches // n_parts)
        for first in range(0, n_batches, step):
            part = self.between(first, first + step)
            if self.extras is not None:
                part = replace(part, clips=self.extras.restored(part.clips), extras=None)
            yield first, part

    def of(self, batches: Sequence[Sequence[int]], whole: bool = False) -> Self:
        """The same for some of the clips, in other batches."""
        rows = pa.array([row for batch in batches for row in batch], pa.int64())
        bounds = np.cumsum([0, *map(len, batches)])
        return replace(self, clips=self.clips.take(rows), bounds=bounds, whole=whole)


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: its staged file, and how many of its clips are in it.

    No file and no clips: the first clip has to be carried out whole.
    """

    batch: int
    file: str
    n_clips: int
    tally: Tally

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**fields | {"tally": Tally(**fields["tally"])})


def receipts(plan: Plan, carry_out: Callable[[Plan], Iterator[Receipt]]) -> Iterator[Receipt]:
    """Carry out a plan; gives the receipt of each batch as it is done.

    Clips that are left over, as their batch held far more audio than it looked, follow in batches
    of half as many as fitted; recordings that do not fit any batch follow whole.
    """
    again: list[range] = []
    whole: list[range] = []
    for receipt in carry_out(plan):
        begin, end = plan.bounds[receipt.batch : receipt.batch + 2].tolist()
        n_done = receipt.n_clips
        if n_done:
            yield receipt
        else:
            whole.append(range(begin, begin + 1))
        size = max(1, n_done // 2)
        left = range(begin + max(1, n_done), end)
        again += [left[i : i + size] for i in range(0, len(left), size)]
    if again:
        _log.info("%d batches follow: others held too much audio", len(again))
        yield from receipts(plan.of(again), carry_out)
    if whole:
        _log.info("%d long recordings follow, each carried out by one worker", len(whole))
        yield from receipts(plan.of(whole, whole=True), carry_out)
