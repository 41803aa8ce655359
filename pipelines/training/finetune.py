"""``finetune``: extractors on the labels of a prepared data set (paper section 2.2).

Also trains the DCASE baseline CNN, which differs in its network and its examples alone.
"""

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from pipelines.storage.store import Store, open_store
from pipelines.storage.uris import refuse_credentials
from pipelines.training.jobs import SCRATCH, ExtractorSpec, FinetuneJob
from pipelines.training.ray_train import RECORD, WEIGHTS, train
from pipelines.training.splits import check_classes, parts
from pipelines.training.step_records import TrainRecord, recorded
from pipelines.training.workfolder.patches import Prepared, open_prepared
from tagger import checkpoint
from tagger.baselines import CNN_FRAMES, CNN_HOP, BaselineCNN
from tagger.card import read_model
from tagger.configs import TrainingConfig, VGGishConfig
from tagger.errors import CommandError
from tagger.examples import Examples, Takes
from tagger.logmel import N_BANDS, PATCH_FRAMES
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
    """One extractor as a task of ``ray_training``."""

    wanted: ExtractorSpec

    @property
    def folder(self) -> str:
        return extractor_folder(self.wanted.name)

    @property
    def epochs(self) -> int:
        return self.wanted.training.epochs

    def spec(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self.wanted)))
        start = self.wanted.start
        return plain | {"start_model": None if start == SCRATCH else _model_id(start)}

    def trainer(self, store: Store, group: Group, device: str) -> Trainer:
        prepared = opened(store)
        split = parts(prepared.dataset, self.wanted.split)
        takes, _ = prepared.takes(split.train, self.wanted.copies)
        train = examples(self.wanted, takes)
        validation = (
            examples(self.wanted, prepared.takes(split.validation, 0)[0])
            if len(split.validation)
            else None
        )
        network = initial(self.wanted, takes)
        return Trainer(network, train, validation, self.wanted.training, group, device)

    def result(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if not self.wanted.normalise:
            return weights
        n_classes = weights["network.classifier.2.bias"].numel()
        network = VGGishClassifier(VGGish(self.wanted.vggish), n_classes)
        normalised = NormalisedClassifier(network)
        normalised.load_state_dict(weights)
        return dict(normalised.folded().state_dict())


def run(job: FinetuneJob, command: list[str]) -> TrainRecord:
    """Carry out ``finetune``."""
    store = open_store(job.work)
    prepared = open_prepared(store)
    for spec in job.extractors:
        check_split(prepared, spec)
        check_start(spec)
    with recorded(store, "finetune", command, job, prepared.info["fingerprint"]) as record:
        tasks = [ExtractorTask(spec) for spec in job.extractors]
        record.metrics |= train(tasks, store, job.resources)
    return record


def check_split(prepared: Prepared, spec: ExtractorSpec) -> None:
    """CommandError where a split does not suit the data set, what was prepared, or the training."""
    split = parts(prepared.dataset, spec.split)
    failed = prepared.dataset.clips["name"].isin(prepared.failures()["name"].to_pylist())
    prepared_rows = np.setdiff1d(split.train, np.flatnonzero(failed.to_numpy()))
    check_classes(prepared.dataset, prepared_rows, f"{spec.split}, failures apart,")
    if spec.training.patience is not None and not len(split.validation):
        raise CommandError(
            f"split {spec.split} has no validation clips to stop early by: give --epochs and "
            "--patience 0"
        )


def check_start(spec: ExtractorSpec) -> None:
    """CommandError where the network is of another shape than what it starts from."""
    if spec.start != SCRATCH and vggish_of(spec.start) != spec.vggish:
        raise CommandError(
            f"{spec.start} holds {vggish_of(spec.start)}, but {spec.vggish} was asked for"
        )


def extractor_folder(name: str) -> str:
    return f"extractors/{name}"


@cache
def opened(store: Store) -> Prepared:
    """One per worker process."""
    return open_prepared(store)


def examples(spec: ExtractorSpec, takes: Takes) -> Examples:
    """What the network of a spec learns from."""
    if spec.network == "vggish":
        return takes.single()
    frames = takes.values.reshape(-1, N_BANDS)
    by_frame = Takes(frames, takes.starts * PATCH_FRAMES, takes.labels, takes.n_classes)
    return by_frame.windows(CNN_FRAMES, CNN_HOP)


def build(spec: ExtractorSpec, n_classes: int) -> nn.Module:
    """The network of a spec, with whatever weights."""
    if spec.network == "baseline":
        return BaselineCNN(n_classes)
    return VGGishClassifier(VGGish(spec.vggish), n_classes)


def initial(spec: ExtractorSpec, takes: Takes) -> nn.Module:
    """The network of a spec before training."""
    with torch.random.fork_rng():
        torch.manual_seed(spec.training.seed)
        network = build(spec, takes.n_classes)
        if not isinstance(network, VGGishClassifier):
            initialise(network)
        elif spec.start == SCRATCH:
            every = max(1, len(takes.values) // INITIAL_PATCHES)
            sample = torch.from_numpy(takes.values[::every].astype("float32"))
            initialise_from_data(network, sample)
        else:
            initialise(network.classifier)
            network.extractor.load_state_dict(_extractor_of(spec.start).state_dict())
    if spec.normalise and isinstance(network, VGGishClassifier):
        return NormalisedClassifier(network)
    return network


@cache
def vggish_of(start: str) -> VGGishConfig:
    """The widths of the extractor that fine-tuning starts from; the paper's from scratch."""
    if start == SCRATCH:
        return VGGishConfig()
    return _extractor_of(start).config


@cache
def _model_id(start: str) -> str:
    return read_model(start).card.model_id


def _extractor_of(start: str) -> VGGish:
    """The first extractor of a model."""
    refuse_credentials(start, "--start")
    return next(iter(checkpoint.build(read_model(start)).extractors.values()))


def load_extractor(store: Store, name: str, n_classes: int) -> tuple[ExtractorSpec, nn.Module]:
    """A finished network, in evaluation mode."""
    spec = read_spec(store, name)
    network = build(spec, n_classes)
    network.load_state_dict(load_safetensors(store.read(f"{extractor_folder(name)}/{WEIGHTS}")))
    return spec, network.eval()


def read_spec(store: Store, name: str) -> ExtractorSpec:
    """What a finished extractor was trained as."""
    spec = _record(store, name)["spec"]
    spec.pop("start_model")
    vggish = spec["vggish"] | {"conv_widths": tuple(spec["vggish"]["conv_widths"])}
    return ExtractorSpec(
        **spec | {"vggish": VGGishConfig(**vggish), "training": TrainingConfig(**spec["training"])}
    )


def weights_of(store: Store, name: str) -> str:
    """The first digits of the sha256 of a finished extractor's weights."""
    digest: str = _record(store, name)["weights"]
    return digest[:8]


def _record(store: Store, name: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(store.read(f"{extractor_folder(name)}/{RECORD}"))
    except FileNotFoundError as error:
        raise CommandError(f"{store.root}: no extractor {name!r}; run finetune first") from error
    return record
