"""``evaluate --publish``: members of an evaluation as one model that ``tag`` takes."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

from pipelines.runtime.packages import package_versions
from pipelines.storage.uris import local_path
from pipelines.training import novelty
from pipelines.training.calibrating import Calibrated
from pipelines.training.jobs import PublishJob
from pipelines.training.scores import Member
from pipelines.training.specs import CLASSIFIER
from pipelines.training.splits import EVERYTHING, parts
from pipelines.training.workfolder import extractors, heads
from pipelines.training.workfolder.patches import Prepared
from tagger import checkpoint
from tagger.attention import MultiLevelAttention
from tagger.errors import CommandError
from tagger.labels import LabelSet
from tagger.novelty import Novelty
from tagger.vggish import VGGish, VGGishClassifier

SCORES_OF_SETS: Final = (
    "A clip may have several labels: each score is the probability of one label by itself, and the "
    "scores of a clip do not sum to 1."
)


@dataclass(frozen=True)
class Model:
    """What is going to be published."""

    job: PublishJob
    labels: LabelSet
    extractors: dict[str, VGGish]
    heads: list[tuple[str, MultiLevelAttention]]
    about: dict[str, Any]


@dataclass(frozen=True)
class _Member:
    """A head upon an extractor, and what both were trained as."""

    extractor: VGGish
    head: MultiLevelAttention
    split: str
    training: dict[str, Any]


def published(
    prepared: Prepared, members: Sequence[Member], job: PublishJob | None
) -> list[Member]:
    """The members that a model is made of, of those that are evaluated.

    They are those upon the extractors that the job names. Without names they are those trained on
    all clips, where there are any: the others, of folds, are there to measure and calibrate them.
    """
    if job and job.extractors:
        return [(head, name) for head, name in members if name in job.extractors]
    specs = {name: extractors.read_spec(prepared.store, name) for _, name in members}
    on_all = [(head, name) for head, name in members if specs[name].split == EVERYTHING]
    return on_all or list(members)


def assemble(prepared: Prepared, members: Sequence[Member], job: PublishJob) -> Model:
    """Put the model together of ``published`` members.

    Raises
    ------
    CommandError : a member that is no attention head upon an extractor
    """
    chosen = {(head, name): _load(prepared, head, name) for head, name in members}
    training = {f"{head} upon {name}": part.training for (head, name), part in chosen.items()}
    about = {
        "command": shlex.join(("python", "-m", "pipelines", *job.command)),
        "notes": job.notes,
        "training": training | {"prepared": prepared.info["settings"]},
        "data": _data(prepared, [part.split for part in chosen.values()]),
        "versions": package_versions(),
    }
    if prepared.dataset.labelling == "several":
        about["scores"] = SCORES_OF_SETS
    return Model(
        job,
        prepared.dataset.labels,
        {name: part.extractor for (_, name), part in chosen.items()},
        [(name, part.head) for (_, name), part in chosen.items()],
        about,
    )


def _load(prepared: Prepared, head_name: str, name: str) -> _Member:
    refusal = CommandError(f"{head_name} upon {name}: only attention heads can be published")
    if head_name == CLASSIFIER:
        raise refusal
    store, dataset = prepared.store, prepared.dataset
    n_classes = len(dataset.labels)
    spec, network = extractors.load(store, name, n_classes)
    head_spec, head = heads.load(store, head_name, name, n_classes, dataset.labelling)
    if not isinstance(network, VGGishClassifier) or not isinstance(head, MultiLevelAttention):
        raise refusal
    training = {"extractor": asdict(spec), "head": asdict(head_spec)}
    return _Member(network.extractor, head, spec.split, training)


def write(
    model: Model,
    figures: dict[str, Any],
    calibrated: Calibrated | None,
    strange: Novelty | None,
) -> None:
    """Write the model to its folder; ``figures`` are empty where no clip was left to test on."""
    calibration = calibrated.about(model.labels.names) if calibrated else {}
    measured = {
        "calibration": calibration,
        "novelty": novelty.about(strange),
        "metrics": {key: value for key, value in figures.items() if key != "per_class"},
        "per_class": figures.get("per_class", []),
    }
    checkpoint.save(
        Path(local_path(model.job.folder)),
        model.job.name,
        model.labels.labels,
        model.extractors,
        model.heads,
        model.about | measured,
        torch.float16 if model.job.float16 else torch.float32,
        calibration=calibrated.calibration if calibrated else None,
        novelty=strange,
    )


def _data(prepared: Prepared, splits: list[str]) -> dict[str, Any]:
    """The clips that the members were trained on, with licence and attribution of each source."""
    dataset = prepared.dataset
    rows = sorted({int(row) for split in splits for row in parts(dataset, split).train})
    clips = dataset.clips.iloc[rows]
    n_clips = dataset.label_sets()[rows].sum(axis=0)
    credit = clips[["source", "author", "license"]].astype(object)
    credit = credit.where(credit.notna(), None).drop_duplicates()
    return {
        "layout": dataset.layout,
        "fingerprint": prepared.fingerprint,
        "n_clips": len(clips),
        "folds": sorted({int(fold) for fold in clips["fold"].dropna()}),
        "clips_per_class": dict(zip(dataset.labels.names, n_clips.tolist(), strict=True)),
        "not_prepared": prepared.failures()["name"].to_pylist(),
        "sources": credit[pd.notna(credit["source"])].to_dict("records"),
    }
