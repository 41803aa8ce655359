"""Small data sets of synthetic sounds, for the tests of the training chain."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

from pipelines.storage.store import Store, open_store
from pipelines.training import prepare
from pipelines.training.embed import Embedder
from pipelines.training.jobs import PrepareJob
from pipelines.training.ray_train import Task, save_result
from pipelines.training.workfolder.patches import Prepared, open_prepared
from tagger import dataset
from tagger.labels import FSDKAGGLE2018
from tagger.training import Group

RATE_HZ = 16_000


def tone(label: int, seed: int, seconds: float = 1.0) -> np.ndarray:
    """A tone whose pitch tells the class, in some noise; (n,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = 300 * 1.8**label * rng.uniform(0.98, 1.02)
    return (0.5 * np.sin(2 * np.pi * pitch * t) + rng.normal(0, 0.02, len(t))).astype(np.float32)


def write_folds(folder: Path, n_classes: int = 3, per_fold: int = 3, n_folds: int = 2) -> Path:
    """A CSV of uri, label and fold, and its recordings of 1 or 2.5 seconds."""
    rows = ["uri,label,fold"]
    for fold in range(1, n_folds + 1):
        for label in range(n_classes):
            for i in range(per_fold):
                name = f"{fold}-{label}-{i}.wav"
                seed = 1000 * fold + 100 * label + i
                soundfile.write(folder / name, tone(label, seed, 1.0 if i % 2 else 2.5), RATE_HZ)
                rows.append(f"{name},class{label},{fold}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def prepare_here(job: PrepareJob) -> Prepared:
    """What ``prepare`` does, in this process."""
    store = open_store(job.work)
    plan = prepare.make_plan(dataset.load(job.data, layout=job.layout), job, store)
    for number in range(len(plan.bounds) - 1):
        prepare.make(plan, number)
    return open_prepared(store)


def train_here(tasks: Iterable[Task], store: Store) -> None:
    """One epoch each, in this process."""
    for task in tasks:
        trainer = task.trainer(store, Group(), "cpu")
        trainer.epoch()
        save_result(store, task, trainer)


def embed_here(prepared: Prepared, name: str, copies: int) -> None:
    """What ``embed`` does, in this process."""
    embedder = Embedder(prepared, copies)
    for number in range(prepared.n_shards):
        embedder(pa.table({"extractor": [name], "shard": [number]}))


def write_fsdkaggle2018(folder: Path, layout: str) -> Path:
    """The 41 classes with three clips each (the first with four), 6 test clips, 3 ignored ones.

    The Zenodo and the Kaggle layout hold the same clips; the ignored ones are empty, as there.
    """
    zenodo = layout == "zenodo"
    prefix = "FSDKaggle2018." if zenodo else ""
    folders = {part: folder / f"{prefix}audio_{part}" for part in ("train", "test")}
    for audio in folders.values():
        audio.mkdir(parents=True)
    labels = [(i, label) for i in range(3) for label in range(41)] + [(3, 0)]
    train = ["fname,label,manually_verified" + (",freesound_id,license" if zenodo else "")]
    for i, label in labels:
        name = f"{i:02x}{label:06x}.wav"
        soundfile.write(folders["train"] / name, tone(label % 7, 100 * i + label), RATE_HZ)
        more = ",1,CC0" if zenodo else ""
        train.append(f"{name},{FSDKAGGLE2018.names[label]},{i % 2}{more}")
    test = ["fname,label,usage" + (",freesound_id,license" if zenodo else "")]
    for i in range(9):
        name, usage = f"ff{i:06x}.wav", ("Public", "Private", "Ignored")[i % 3]
        soundfile.write(folders["test"] / name, tone(i % 7, 900 + i), RATE_HZ)
        if usage == "Ignored":
            soundfile.write(folders["test"] / name, np.empty(0), RATE_HZ)
        truth = "None" if usage == "Ignored" else FSDKAGGLE2018.names[i]
        test.append(f"{name},{truth},{usage}" + (",1,CC0" if zenodo else ""))
    meta = folder / "FSDKaggle2018.meta" if zenodo else folder
    meta.mkdir(exist_ok=True)
    names = (
        ("train_post_competition.csv", "test_post_competition_scoring_clips.csv")
        if zenodo
        else ("train.csv", "test_post_competition.csv")
    )
    for name, lines in zip(names, (train, test), strict=True):
        (meta / name).write_text("\n".join(lines) + "\n")
    return folder
