"""Which takes heads and extractors learn from; Ray's part is in test_reproduce."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.training import fit
from pipelines.training.finetune import ExtractorTask
from pipelines.training.jobs import FitJob
from pipelines.training.splits import parts
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.errors import CommandError
from tagger.training import Group
from tests.support.small_data import train_member


@pytest.mark.parametrize("copies", [0, 1])
def test_copies_are_trained_on_as_asked_and_never_validated_on(prepared, extractor, head, copies):
    of_head = train_member(prepared, extractor, head)
    split = parts(prepared.dataset, extractor.split)
    reads = SharedReads(prepared, prepared.dataset.development(), copies=1)
    for task, loaded in (
        (ExtractorTask(replace(extractor, copies=copies)), reads.patches),
        (replace(of_head, wanted=replace(head, copies=copies)), reads.embeddings("x")),
    ):
        trainer = task.trainer(reads, Group(), "cpu")
        for examples, clips, n_each in (
            (trainer._train, split.train, 1 + copies),
            (trainer._validation, split.validation, 1),
        ):
            takes = np.unique(examples.takes)
            assert loaded.clips[takes].tolist() == np.repeat(np.sort(clips), n_each).tolist()
            assert loaded.copies[takes].tolist() == [*range(n_each)] * len(clips)
            assert (examples.labels == loaded.takes.labels[examples.takes]).all()


def test_what_is_not_ready_is_refused(prepared, extractor, head):
    job = FitJob(work=prepared.store.root, extractors=("x",), heads=(head,))
    with pytest.raises(CommandError, match="run finetune first"):
        fit.run(job, [])
    train_member(prepared, replace(extractor, split="fold-1"), head)
    with pytest.raises(CommandError, match="with 2 copies; run embed"):
        fit.run(replace(job, heads=(replace(head, copies=2),)), [])
    patient = replace(head, training=replace(head.training, patience=3))
    with pytest.raises(CommandError, match="needs validation clips"):
        fit.run(replace(job, heads=(patient,)), [])
