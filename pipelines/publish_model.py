"""``evaluate --publish``: members of an evaluation as one model that ``tag`` takes (design 5)."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from pipelines.finetune import load_extractor
from pipelines.fit import load_head
from pipelines.prepared import Prepared
from pipelines.records import versions
from pipelines.splitting import parts
from pipelines.train_config import PublishJob
from tagger import checkpoint
from tagger.attention import MultiLevelAttention
from tagger.errors import CommandError
from tagger.vggish import VGGish, VGGishClassifier


def publish(
    prepared: Prepared,
    members: Sequence[tuple[str, str]],
    job: PublishJob,
    figures: dict[str, Any],
) -> None:
    """Write the model to a local folder.

    Raises
    ------
    CommandError : a member that is no attention head upon an extractor
    """
    chosen = [m for m in members if not job.extractors or m[1] in job.extractors]
    store, n_classes = prepared.store, len(prepared.dataset.labels)
    extractors: dict[str, VGGish] = {}
    heads: list[tuple[str, MultiLevelAttention]] = []
    training: dict[str, Any] = {}
    splits = []
    for head_name, name in chosen:
        spec, network = load_extractor(store, name, n_classes)
        head_spec, head = load_head(store, head_name, name, n_classes)
        if not isinstance(network, VGGishClassifier) or not isinstance(head, MultiLevelAttention):
            raise CommandError(f"{head_name} upon {name}: only attention heads can be published")
        extractors[name] = network.extractor
        heads.append((name, head))
        splits.append(spec.split)
        training[f"{head_name} upon {name}"] = {
            "extractor": asdict(spec),
            "head": asdict(head_spec),
        }
    about = {
        "command": shlex.join(("python", "-m", "pipelines", *job.command)),
        "notes": job.notes,
        "metrics": {key: value for key, value in figures.items() if key != "per_class"},
        "per_class": figures["per_class"],
        "training": training | {"prepared": prepared.info["settings"]},
        "data": _data(prepared, splits),
        "versions": versions(),
    }
    checkpoint.save(
        Path(job.folder),
        job.name,
        prepared.dataset.labels.labels,
        extractors,
        heads,
        about,
        torch.float16 if job.float16 else torch.float32,
    )


def _data(prepared: Prepared, splits: list[str]) -> dict[str, Any]:
    """The clips that the members were trained on, with licence and attribution of each source."""
    dataset = prepared.dataset
    rows = sorted({int(row) for split in splits for row in parts(dataset, split).train})
    clips = dataset.clips.iloc[rows]
    credit = clips[["source", "author", "license"]].astype(object)
    credit = credit.where(credit.notna(), None).drop_duplicates()
    return {
        "layout": dataset.layout,
        "fingerprint": prepared.info["fingerprint"],
        "n_clips": len(clips),
        "folds": sorted({int(fold) for fold in clips["fold"].dropna()}),
        "clips_per_class": {str(k): int(v) for k, v in clips["label"].value_counts().items()},
        "not_prepared": prepared.failures()["name"].to_pylist(),
        "sources": credit[pd.notna(credit["source"])].to_dict("records"),
    }
