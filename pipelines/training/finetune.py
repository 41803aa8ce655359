"""``finetune``: extractors on the labels of a prepared data set (paper section 2.2).

Also trains the DCASE baseline CNN, which differs in its network and its examples alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.storage.store import Store, open_store
from pipelines.training.jobs import FinetuneJob
from pipelines.training.ray_train import train
from pipelines.training.specs import SCRATCH, ExtractorSpec
from pipelines.training.splits import check_classes, check_validation, parts
from pipelines.training.start_model import StartModel, read_start_model
from pipelines.training.step_records import StepRecord, recorded
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.patches import Prepared, open_prepared
from pipelines.training.workfolder.plain import to_plain
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.configs import VGGishConfig
from tagger.errors import CommandError, OptionError
from tagger.examples import Examples
from tagger.training import Group, Trainer
from tagger.vggish import (
    NormalisedClassifier,
    VGGish,
    VGGishClassifier,
    initialise,
    initialise_from_data,
)

INITIAL_PATCHES: Final = 400  # for the data-dependent initialisation


@dataclass(frozen=True)
class ExtractorTask:
    """One extractor as a task of ``train_worker``.

    Attributes
    ----------
    start_model : the model_id of what ``wanted`` starts from; None: from scratch
    teachers : ``extractors.weights_id`` of those that teach it
    """

    wanted: ExtractorSpec
    start_model: str | None = None
    teachers: tuple[str, ...] = ()

    @classmethod
    def of(cls, spec: ExtractorSpec, store: Store) -> Self:
        """The task of a spec; reads what it starts from, and which weights its teachers have."""
        start_model = None if spec.start == SCRATCH else _start_of(spec).model_id
        return cls(spec, start_model, _teachers_weights(spec, store))

    @property
    def folder(self) -> str:
        return extractors.folder(self.wanted.name)

    @property
    def epochs(self) -> int:
        return self.wanted.training.epochs

    @property
    def copies(self) -> int:
        return self.wanted.copies

    def spec(self) -> dict[str, Any]:
        found = to_plain(self.wanted) | {"start_model": self.start_model}
        if self.teachers:
            return found | {extractors.TEACHERS_WEIGHTS: list(self.teachers)}
        return {name: value for name, value in found.items() if name != "teachers"}

    def was(self, spec: Mapping[str, Any]) -> bool:
        teachers = spec.get(extractors.TEACHERS_WEIGHTS, [])  # which an earlier version had not
        was = extractors.wanted(spec), spec["start_model"], tuple(teachers)
        return was == (self.wanted, self.start_model, self.teachers)

    def trainer(self, reads: SharedReads, group: Group, device: str) -> Trainer:
        patches = reads.patches
        train, validation = patches.divide(
            extractors.examples(self.wanted, patches.takes),
            parts(reads.prepared.dataset, self.wanted.split),
            self.wanted.copies,
        )
        network = self._initial(train)
        spec = self.wanted
        teachers = [
            extractors.load(reads.prepared.store, name, train.n_classes)[1]
            for name in spec.teachers
        ]
        return Trainer(
            network, train, validation, spec.training, group, device, spec.shift, teachers
        )

    def result(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.wanted.normalise:
            return weights
        n_classes = weights["network.classifier.2.bias"].numel()
        network = VGGishClassifier(VGGish(self.wanted.vggish), n_classes)
        normalised = NormalisedClassifier(network)
        normalised.load_state_dict(weights)
        return dict(normalised.folded().state_dict())

    def _initial(self, train: Examples) -> nn.Module:
        """The network before training on these examples."""
        spec = self.wanted
        with torch.random.fork_rng():
            torch.manual_seed(spec.training.seed)
            network = extractors.build(spec, train.n_classes)
            if not isinstance(network, VGGishClassifier):
                initialise(network)
            elif spec.start == SCRATCH:
                initialise_from_data(network, _sample(train))
            else:
                initialise(network.classifier)
                network.extractor.load_state_dict(self._start_weights())
        if not spec.normalise or not isinstance(network, VGGishClassifier):
            return network
        normalised = NormalisedClassifier(network)
        if spec.start != SCRATCH:
            normalised.keep_function(_sample(train))
        return normalised

    def _start_weights(self) -> dict[str, Tensor]:
        start = _start_of(self.wanted)
        if start.model_id != self.start_model:
            raise CommandError(
                f"{self.wanted.start} held {self.start_model} when the job began, and now "
                f"{start.model_id}"
            )
        return start.extractor.state_dict()


def _sample(train: Examples) -> Tensor:
    """Some hundred patches (n, 96, 64) float32, from all over the training clips."""
    every = max(1, len(train) // INITIAL_PATCHES)
    return torch.from_numpy(train.inputs(np.arange(0, len(train), every)))


def run(job: FinetuneJob, command: list[str]) -> StepRecord:
    """Carry out ``finetune``.

    Raises
    ------
    CommandError : here, before any training, where a network cannot be trained as asked
    """
    store = open_store(job.work)
    prepared = open_prepared(store)
    for spec in job.extractors:
        _check_split(prepared, spec)
        _check_start(spec)
        _check_teachers(store, spec)
    tasks = [ExtractorTask.of(spec, store) for spec in job.extractors]
    with recorded(store, "finetune", command, job, prepared.fingerprint) as record:
        record.metrics |= train(tasks, store, job.resources)
    return record


def _check_split(prepared: Prepared, spec: ExtractorSpec) -> None:
    """CommandError where a split does not suit the data set, what was prepared, or the training."""
    split = parts(prepared.dataset, spec.split)
    train = np.setdiff1d(split.train, prepared.failed_clips)
    check_classes(prepared.dataset, train, f"{spec.split}, failures apart,")
    check_validation(split, spec.split, spec.training)


def _check_start(spec: ExtractorSpec) -> None:
    """CommandError where the network is of another shape than what it starts from."""
    if spec.start != SCRATCH and (found := _start_of(spec).extractor.config) != spec.vggish:
        raise CommandError(f"{spec.start} holds {found}, but {spec.vggish} was asked for")


def _check_teachers(store: Store, spec: ExtractorSpec) -> None:
    """CommandError where a teacher cannot hear patches, knows nothing, or has heard other clips."""
    for name in spec.teachers:
        teacher = extractors.read_spec(store, name)
        if teacher.network != "vggish":
            raise OptionError("teachers", f"must be VGGish extractors, and {name} is not")
        if not teacher.training.epochs:
            raise OptionError("teachers", f"must have been trained, and {name} was kept as it was")
        if teacher.split != spec.split:
            raise OptionError(
                "teachers",
                f"must be trained on the same split: {name} was on {teacher.split}, and "
                f"{spec.name} is on {spec.split}",
            )


def _teachers_weights(spec: ExtractorSpec, store: Store) -> tuple[str, ...]:
    return tuple(extractors.weights_id(store, name) for name in spec.teachers)


def _start_of(spec: ExtractorSpec) -> StartModel:
    return read_start_model(spec.start, spec.start_extractor)


def vggish_of(start: str, extractor: str | None = None) -> VGGishConfig:
    """The shape of the extractor that training starts from; from scratch, the paper's."""
    if start == SCRATCH:
        return VGGishConfig()
    return read_start_model(start, extractor).extractor.config
