"""``fit``: heads upon the embeddings of each extractor (paper sections 3.4, 4.1 to 4.3).

A head is trained on the split of its extractor.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load as load_safetensors
from torch import nn

from pipelines.storage.store import Store, open_store
from pipelines.training.embed import embedded, embedded_takes
from pipelines.training.finetune import read_spec, weights_of
from pipelines.training.jobs import FitJob, HeadSpec
from pipelines.training.ray_train import RECORD, WEIGHTS, train
from pipelines.training.splits import parts
from pipelines.training.step_records import TrainRecord, recorded
from pipelines.training.workfolder.patches import open_prepared
from tagger.attention import MultiLevelAttention
from tagger.baselines import LSTMHead
from tagger.configs import AttentionConfig, LSTMConfig, TrainingConfig
from tagger.errors import CommandError
from tagger.examples import Examples, Takes
from tagger.training import Group, Trainer


@dataclass(frozen=True)
class HeadTask:
    """One head as a task of ``ray_training``.

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
        return head_folder(self.wanted.name, self.extractor)

    @property
    def epochs(self) -> int:
        return self.wanted.training.epochs

    def spec(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def trainer(self, store: Store, group: Group, device: str) -> Trainer:
        prepared = open_prepared(store)
        split = parts(prepared.dataset, self.split)
        takes, _ = embedded_takes(prepared, self.extractor, split.train, self.wanted.copies)
        validation = (
            examples(self.wanted, embedded_takes(prepared, self.extractor, split.validation, 0)[0])
            if len(split.validation)
            else None
        )
        with torch.random.fork_rng():
            torch.manual_seed(self.wanted.training.seed)
            network = build(self.wanted, takes.n_classes)
        train_on = examples(self.wanted, takes)
        return Trainer(network, train_on, validation, self.wanted.training, group, device)

    def result(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return weights


def run(job: FitJob, command: list[str]) -> TrainRecord:
    """Carry out ``fit``."""
    store = open_store(job.work)
    prepared = open_prepared(store)
    tasks = []
    for name in job.extractors:
        split = read_spec(store, name).split
        embedded(prepared, name, max(head.copies for head in job.heads))
        for head in job.heads:
            if head.training.patience is not None and not len(
                parts(prepared.dataset, split).validation
            ):
                raise CommandError(
                    f"split {split} has no validation clips to stop early by: give --epochs and "
                    "--patience 0"
                )
            tasks.append(HeadTask(head, name, split, weights_of(store, name)))
    with recorded(store, "fit", command, job, prepared.info["fingerprint"]) as record:
        record.metrics |= train(tasks, store, job.resources)
    return record


def head_folder(name: str, extractor: str) -> str:
    return f"heads/{name}/{extractor}"


def examples(spec: HeadSpec, takes: Takes) -> Examples:
    """What the network of a spec learns from."""
    if isinstance(spec.network, LSTMConfig):
        return takes.whole()
    return takes.bags(spec.network.n_segments)


def build(spec: HeadSpec, n_classes: int) -> nn.Module:
    """The network of a spec, with torch's initial weights."""
    if isinstance(spec.network, LSTMConfig):
        return LSTMHead(n_classes, spec.network)
    return MultiLevelAttention(n_classes, spec.network)


def load_head(
    store: Store, name: str, extractor: str, n_classes: int
) -> tuple[HeadSpec, nn.Module]:
    """A finished head, in evaluation mode."""
    folder = head_folder(name, extractor)
    try:
        record = json.loads(store.read(f"{folder}/{RECORD}"))
    except FileNotFoundError as error:
        raise CommandError(
            f"{store.root}: no head {name!r} upon extractor {extractor!r}; run fit first"
        ) from error
    if record["spec"]["weights"] != weights_of(store, extractor):
        raise CommandError(
            f"{store.root}: head {name!r} was fitted upon another extractor {extractor!r}; fit one "
            "of another name"
        )
    spec = _read(record["spec"]["wanted"])
    network = build(spec, n_classes)
    network.load_state_dict(load_safetensors(store.read(f"{folder}/{WEIGHTS}")))
    return spec, network.eval()


def _read(spec: dict[str, Any]) -> HeadSpec:
    network = spec["network"]
    config: AttentionConfig | LSTMConfig
    if "levels" in network:
        config = AttentionConfig(**network | {"levels": tuple(network["levels"])})
    else:
        config = LSTMConfig(**network)
    return HeadSpec(**spec | {"network": config, "training": TrainingConfig(**spec["training"])})
