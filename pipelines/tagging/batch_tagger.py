"""A batch of clips from reading to its staged file, in the process that calls; knows no Ray.

A machine without GPUs works this way, alone or as one of Ray's actors: nothing is shipped between
processes, and no core waits for another.
"""

import logging
import os
from collections.abc import Iterator
from functools import partial

import pyarrow as pa

from pipelines.output.staging import stage
from pipelines.output.tally import PATCHES_STAGE, Tally
from pipelines.storage.retry import RetryCount
from pipelines.tagging.plan import Plan, Receipt
from pipelines.tagging.stages import ClipTagger, Preprocessor
from pipelines.tagging.telling import telling
from tagger.card import ModelFiles

_log = logging.getLogger(__name__)


class BatchTagger:
    """Carries out batches of a plan one after the other, with the model loaded once.

    Parameters
    ----------
    n_threads : of torch in this process; decoding has a process and a thread of its own
    """

    def __init__(self, plan: Plan, model: ModelFiles, n_threads: int) -> None:
        import torch

        torch.set_num_threads(n_threads)
        self._plan = plan
        self._preprocess = Preprocessor(
            plan.limits, plan.access, plan.most_patches, plan.rows.output.track
        )
        self._tag = clip_tagger(plan, model)

    def __call__(self, batch: int) -> Receipt:
        """Read, decode, tag and stage the clips of a batch."""
        retries = RetryCount()
        clips = self._plan.batch(batch)
        events = telling(self._preprocess(clips), clips, partial(self._plan.board.write, batch))
        cpu_s = self._preprocess.cpu_s
        table, tally = self._tag(clips, events)
        tally.count_cpu(PATCHES_STAGE, self._preprocess.cpu_s - cpu_s)
        receipt = stage_batch(self._plan, batch, table, tally, retries)
        self._plan.board.wipe(batch)
        return receipt

    def close(self) -> None:
        """End the process that decodes."""
        self._preprocess.close()


def carry_out(plan: Plan, model: ModelFiles) -> Iterator[Receipt]:
    """Carry out the plan in this process; gives each receipt as it is done."""
    tagger = BatchTagger(plan, model, len(os.sched_getaffinity(0)))
    try:
        for batch in range(len(plan.bounds) - 1):
            receipt = tagger(batch)
            receipt.tally.n_retries = 0  # the driver counts those of its own process
            yield receipt
    finally:
        tagger.close()


def clip_tagger(plan: Plan, model: ModelFiles) -> ClipTagger:
    """The stage that has the model, on the device that there is."""
    from tagger.devices import pick_device, pick_precision
    from tagger.tagging import Tagger

    device = pick_device()
    precision = pick_precision(device, plan.precision)
    if plan.precision not in (None, precision):
        _log.warning("this processor is not faster in %s: %s instead", plan.precision, precision)
    return ClipTagger(Tagger(model, device, precision, plan.extractor_batch), plan.rows)


def stage_batch(
    plan: Plan, batch: int, table: pa.Table, tally: Tally, retries: RetryCount
) -> Receipt:
    """Write the rows of a batch to a staged file; none where there are no rows."""
    with tally.timed("staging"):
        file = stage(table, plan.store, plan.rows.model_id) if len(table) else ""
    tally.n_retries += retries.n
    audio_min = tally.audio_s / 60
    _log.info("batch %d: %.1f min of audio, %d failed", batch, audio_min, tally.n_failed)
    return Receipt(batch, file, tally.n_recordings, tally)
