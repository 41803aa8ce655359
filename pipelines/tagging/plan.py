"""What a run is going to do: which clips, in which batches, how, and into which output."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.output.tally import Tally
from pipelines.runtime.limits import Limits
from pipelines.storage.store import Store
from pipelines.tagging.board import Board, LocalBoard
from pipelines.tagging.staged_rows import RowSettings
from pipelines.tagging.stages import MOST_PATCHES
from tagger.configs import Precision

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What workers need to know, the model apart.

    Attributes
    ----------
    clips : all clips to work on, schema ``LISTING``
    bounds : (n_batches + 1,) int64; batch i is rows ``bounds[i]`` to ``bounds[i + 1]``
    precision : arithmetic of the extractors; None: what the hardware computes in
    most_patches : a batch ends with the clip that brings it to so many; its other clips are left
    board : where workers tell how far they are in a batch
    """

    clips: pa.Table
    bounds: npt.NDArray[np.int64]
    store: Store
    rows: RowSettings
    limits: Limits
    precision: Precision | None
    most_patches: int = MOST_PATCHES
    board: Board = field(default_factory=LocalBoard)

    def batch(self, number: int) -> pa.Table:
        return self.clips.slice(self.bounds[number], self.bounds[number + 1] - self.bounds[number])

    @property
    def patch_dtype(self) -> str:
        """How patches travel to GPUs: float16 is finer than the bfloat16 they end in."""
        return "float32" if self.precision == "float32" else "float16"

    def left_over(self, rows: list[int]) -> "Plan":
        """The same for some of the clips, one by one."""
        clips = self.clips.take(pa.array(rows, pa.int64()))
        return replace(self, clips=clips, bounds=np.arange(len(rows) + 1))


@dataclass(frozen=True)
class Receipt:
    """What became of a batch: its staged file, and how many of its clips are in it."""

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

    Clips that are left over, as their batch held far more audio than it looked, follow one by one.
    """
    left: list[int] = []
    for receipt in carry_out(plan):
        begin, end = plan.bounds[receipt.batch : receipt.batch + 2].tolist()
        left += range(begin + receipt.n_clips, end)
        yield receipt
    if left:
        _log.info("%d clips follow one by one: their batches held too much audio", len(left))
        yield from receipts(plan.left_over(left), carry_out)
