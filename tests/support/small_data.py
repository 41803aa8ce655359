"""Small data sets of synthetic sounds, for the tests of the training chain."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import soundfile
import torch

from pipelines.storage.retry import PATIENCE_S
from pipelines.storage.store import LocalStore, Store, open_store
from pipelines.training import prepare
from pipelines.training.embed import Embedder
from pipelines.training.finetune import ExtractorTask
from pipelines.training.fit import HeadTask
from pipelines.training.jobs import PrepareJob
from pipelines.training.specs import ExtractorSpec, HeadSpec
from pipelines.training.train_worker import Place, States, Task, Work, train_all
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.patches import FOLDER, Prepared, open_prepared
from pipelines.training.workfolder.shards import read_table, shard_path
from tagger.dataset import Dataset
from tagger.labels import FSDKAGGLE2018, LabelSet
from tagger.training import EpochMetrics

RATE_HZ = 16_000


def tone(label: int, seed: int, seconds: float = 1.0) -> np.ndarray:
    """A tone whose pitch tells the class, in some noise; (n,) float32."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pitch = 300 * 1.8**label * rng.uniform(0.98, 1.02)
    return (0.5 * np.sin(2 * np.pi * pitch * t) + rng.normal(0, 0.02, len(t))).astype(np.float32)


def without_sound(n: int, n_test: int = 0, folds: bool = False) -> Dataset:
    """A data set of n clips and some test clips, classes a and b in turn.

    With folds they are 1 to 4, two clips to each before the next.
    """
    number = np.arange(n + n_test)
    clips = pd.DataFrame(
        {
            "name": [f"{i}.wav" for i in number],
            "label": np.where(number % 2, "b", "a"),
            "fold": pd.array(1 + number // 2 % 4 if folds else [None] * len(number), "Int64"),
            "split": np.where(number < n, "train", "test"),
            "usage": pd.array([None] * len(number), "string"),
        }
    )
    return Dataset("csv", LabelSet.of(["a", "b"]), clips)


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
    plan = prepare.plan_shards(prepare.load(job), job, store)
    for number in range(plan.n_shards):
        prepare.write_shard(plan, number)
    return open_prepared(store)


class NoCheckpoints:
    """For a worker that nobody kills."""

    def restore(self) -> States:
        return {}

    def save(self, states: States) -> None:
        pass


def train_here(tasks: Iterable[Task], store: Store) -> dict[str, list[EpochMetrics]]:
    """What the one worker of a Ray Train run does, in this process: each network's epochs."""
    told: dict[str, list[EpochMetrics]] = {}

    def tell(folder: str, epochs: int, metrics: EpochMetrics) -> None:
        told.setdefault(folder, []).append(metrics)

    work = Work(tuple(tasks), store, together=False, checkpoint_s=0)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker with one CPU
    try:
        train_all(work, Place(), NoCheckpoints(), tell)
    finally:
        torch.set_num_threads(n_threads)
    return told


def embed_here(prepared: Prepared, name: str, copies: int) -> None:
    """What ``embed`` does, in this process."""
    embedder = Embedder(prepared, copies)
    for number in range(prepared.n_shards):
        embedder(pa.table({"shard": [number], "extractors": [[name]]}))


def train_member(prepared: Prepared, extractor: ExtractorSpec, head: HeadSpec) -> HeadTask:
    """Train an extractor, embed by it, train a head upon it."""
    store, name = prepared.store, extractor.name
    train_here([ExtractorTask(extractor)], store)
    embed_here(prepared, name, 1)
    task = HeadTask(head, name, extractor.split, extractors.weights_id(store, name))
    train_here([task], store)
    return task


def shards(prepared: Prepared) -> list[pa.Table]:
    """All shards of ``PATCHES``."""
    paths = [shard_path(FOLDER, number) for number in range(prepared.n_shards)]
    return [read_table(prepared.store, path) for path in paths]


class CountingStore(LocalStore):
    """Counts how often each of its files is read."""

    def __init__(self, root: str, patience_s: float = PATIENCE_S) -> None:
        super().__init__(root, patience_s)
        self.n_reads: Counter[str] = Counter()

    def _read(self, path: str) -> bytes:
        self.n_reads[path] += 1
        return super()._read(path)


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
