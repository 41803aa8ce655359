"""``fit``: heads upon the embeddings of each extractor (paper sections 3.4, 4.1 to 4.3).

A head is trained on the split of its extractor.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pipelines.storage.store import open_store
from pipelines.training.jobs import FitJob
from pipelines.training.ray_train import train
from pipelines.training.specs import HeadSpec
from pipelines.training.splits import check_validation, parts
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder import extractors, heads
from pipelines.training.workfolder.embeddings import finished_folder
from pipelines.training.workfolder.patches import open_prepared
from pipelines.training.workfolder.plain import from_plain, to_plain
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.training import Group, Trainer


@dataclass(frozen=True)
class HeadTask:
    """One head as a task of ``train_worker``.

    Attributes
    ----------
    split, weights : the extractor's
    """

    wanted: HeadSpec
    extractor: str
    split: str
    weights: str

    @property
    def folder(self) -> str:
        return heads.folder(self.wanted.name, self.extractor)

    @property
    def epochs(self) -> int:
        return self.wanted.training.epochs

    @property
    def copies(self) -> int:
        return self.wanted.copies

    def spec(self) -> dict[str, Any]:
        return to_plain(self)

    def was(self, spec: Mapping[str, Any]) -> bool:
        return from_plain(HeadTask, spec) == self

    def trainer(self, reads: SharedReads, group: Group, device: str) -> Trainer:
        embeddings = reads.embeddings(self.extractor)
        train, validation = embeddings.divide(
            heads.examples(self.wanted, embeddings.takes),
            parts(reads.prepared.dataset, self.split),
            self.wanted.copies,
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.wanted.training.seed)
            network = heads.build(self.wanted, train.n_classes, train.labelling)
        return Trainer(network, train, validation, self.wanted.training, group, device)

    def result(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights


def run(job: FitJob, command: list[str]) -> StepRecord:
    """Carry out ``fit``.

    Raises
    ------
    CommandError : here, before any training, where an extractor is not trained or not embedded, or
        leaves no clips to stop early by
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    tasks = []
    for name in job.extractors:  # heads upon one extractor stand together: see ``SharedReads``
        split = extractors.read_spec(store, name).split
        finished_folder(prepared, name, max(head.copies for head in job.heads))
        for head in job.heads:
            check_validation(parts(prepared.dataset, split), split, head.training)
            tasks.append(HeadTask(head, name, split, extractors.weights_id(store, name)))
    with recorded(store, "fit", command, job, prepared.fingerprint) as record:
        record.metrics |= train(tasks, store, job.resources)
    return record
