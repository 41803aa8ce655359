"""Two sounds at once: does a model that was trained on label sets hear both?

    python -m benchmarks.two_labels DATA --work FOLDER [--folds 1 2 …] [--write]

DATA is ESC-10, or any data set with folds that ``prepare`` takes. Pairs of its clips of different
kinds, both of one fold, are mixed at 0 dB: each has the same power. Each clip is in eight mixtures.
For each fold in turn members learn the other folds' single clips as the bundled model's teachers
do. From their extractors others start, and learn the mixtures of the other folds with
``labels="several"``. Both ensembles then hear the fold's mixtures. The work folder keeps all that
was made, so a command that was stopped goes on, and may be given fold by fold.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
import soxr

from benchmarks.reporting import show, write
from pipelines.paper.bundled_recipe import HEAD, RECIPE, BundledRecipe
from pipelines.storage.store import open_store
from pipelines.training import evaluate
from pipelines.training.finetune import ExtractorTask
from pipelines.training.fit import HeadTask
from pipelines.training.jobs import EvaluateJob, PublishJob
from pipelines.training.scores import Member, score
from pipelines.training.specs import ExtractorSpec
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.embeddings import finished_folder
from pipelines.training.workfolder.patches import Prepared, open_prepared
from tagger import checkpoint, dataset, ensemble
from tagger.arrays import BoolArray, FloatArray
from tagger.card import CARD_FILE
from tagger.configs import TrainingConfig
from tagger.errors import CommandError
from tagger.label_metrics import lwlrap, mean_average_precision
from tagger.labels import Labelling
from tagger.logmel import SAMPLE_RATE_HZ
from tagger.tagging import Tagger
from tagger.vggish import VGGishClassifier
from tests.support.small_data import embed_here, prepare_here, train_here

MIXTURES: Final = 8  # that a clip is in
SEED: Final = 0
SEVERAL: Final = BundledRecipe(
    copies=1,
    head_copies=0,
    extractor=TrainingConfig(
        epochs=2,
        patience=None,
        batches="examples",
        batch_size=64,
        learning_rate=5e-4,
        weight_decay=1e-4,
        one_cycle=True,
        average=0.99,
        mixup=0.2,
    ),
    head=TrainingConfig(
        epochs=20, patience=None, batches="examples", batch_size=128, one_cycle=True, mixup=0.2
    ),
)
"""Mixtures take the place of most pitch-shifted copies."""

StringArray = npt.NDArray[np.object_]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--folds", type=int, nargs="+", default=[])
    parser.add_argument("--members", type=int, choices=[1, 2], default=2)
    parser.add_argument("--peers", type=int, choices=[1, 2], default=2, help="members of the other")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    mixed = mixtures(flags.data, flags.work / "mixtures")
    peer = replace(RECIPE, seeds=RECIPE.seeds[: flags.peers])
    one = Side("one", flags.work / "one", flags.data, peer)
    learns = replace(SEVERAL, seeds=SEVERAL.seeds[: flags.members])
    several = Side("several", flags.work / "several", str(mixed), learns, start=one)
    folds = flags.folds or sorted(dataset.load(flags.data).clips["fold"].unique().tolist())
    for fold in folds:
        for side in (one, several):
            side.train(fold)
    rows = measured(several, one, folds)
    show(f"of mixtures of two sounds, folds {', '.join(map(str, folds))}", rows)
    if flags.write:
        write("two_labels", rows)


def mixtures(data: str, folder: Path) -> Path:
    """The CSV of all mixtures: uri, label with both kinds, fold."""
    listing = folder / "mixtures.csv"
    if listing.exists():
        return listing
    folder.mkdir(parents=True, exist_ok=True)
    clips = dataset.load(data).clips
    rows = []
    for fold in sorted(clips["fold"].unique().tolist()):
        of_fold = clips[clips["fold"] == fold]
        kinds = of_fold["label"].to_numpy()
        sounds = [at_unit_power(uri) for uri in of_fold["uri"]]
        for number, (one, other) in enumerate(pairs(kinds, fold)):
            name = f"{fold}-{number:03}.flac"
            soundfile.write(folder / name, at_0_db(sounds[one], sounds[other]), SAMPLE_RATE_HZ)
            rows.append({"uri": name, "label": f"{kinds[one]};{kinds[other]}", "fold": fold})
    pd.DataFrame(rows).to_csv(listing, index=False)
    return listing


def pairs(kinds: StringArray, fold: int) -> Iterator[tuple[int, int]]:
    """Places of clips of different kinds, two and two; each place comes once a round."""
    rng = np.random.default_rng((SEED, fold))
    half = len(kinds) // 2
    for _ in range(MIXTURES):
        order = rng.permutation(len(kinds))
        first, second = order[:half], order[half : 2 * half]
        while len(same := np.flatnonzero(kinds[first] == kinds[second])):
            swapped = [same[0], rng.integers(half)]
            second[swapped] = second[swapped[::-1]]
        yield from zip(first.tolist(), second.tolist(), strict=True)


def at_unit_power(uri: str) -> FloatArray:
    """A recording, mono at 16 kHz, with a mean square of 1."""
    samples, rate = soundfile.read(uri.removeprefix("file://"), dtype="float32", always_2d=True)
    sound = soxr.resample(samples.mean(1), rate, SAMPLE_RATE_HZ)
    power: FloatArray = sound / np.sqrt(np.square(sound, dtype=np.float64).mean())
    return power.astype(np.float32)


def at_0_db(one: FloatArray, other: FloatArray) -> FloatArray:
    """The sum of two sounds of equal power, with a peak of 1."""
    mixture = np.zeros(max(len(one), len(other)), np.float32)
    for sound in (one, other):
        mixture[: len(sound)] += sound
    mixture /= np.abs(mixture).max()
    return mixture


@dataclass(frozen=True)
class Side:
    """One way to learn, with its work folder, and whose extractors its own start from."""

    labels: Labelling
    work: Path
    data: str
    recipe: BundledRecipe
    start: "Side | None" = None

    def prepared(self) -> Prepared:
        """The data set as patches; made here unless they are there."""
        job = replace(self.recipe.prepare(self.data, str(self.work)), labels=self.labels)
        if self.labels == "several":
            job = replace(job, label_separator=";")
        try:
            return open_prepared(open_store(job.work))
        except CommandError:
            return prepare_here(job)

    def members(self, folds: Sequence[int]) -> tuple[Member, ...]:
        """Those that test these folds."""
        return tuple((HEAD, spec.name) for fold in folds for spec in self._extractors(fold))

    def train(self, fold: int) -> None:
        """Train the members that test a fold, unless they are there."""
        prepared = self.prepared()
        for spec in self._extractors(fold):
            train_here([ExtractorTask.of(spec, prepared.store)], prepared.store)
            try:
                finished_folder(prepared, spec.name, self.recipe.head_copies)
            except CommandError:
                embed_here(prepared, spec.name, self.recipe.head_copies)
            weights = extractors.weights_id(prepared.store, spec.name)
            (head,) = self.recipe.heads()
            train_here([HeadTask(head, spec.name, spec.split, weights)], prepared.store)

    def model(self, fold: int) -> Tagger:
        """The members that test a fold, as a model."""
        folder = self.work / "models" / f"fold-{fold}"
        publish = PublishJob(folder=str(folder), name=folder.name)
        evaluate.run(
            EvaluateJob(
                work=str(self.work),
                name=folder.name,
                members=self.members([fold]),
                publish=publish,
            ),
            ["evaluate"],
        )
        return Tagger.load(folder)

    def _extractors(self, fold: int) -> list[ExtractorSpec]:
        specs = [spec for spec in self.recipe.teachers() if spec.split == f"fold-{fold}"]
        if self.start is None:
            return specs
        return [
            replace(spec, start=self.start.extractor(spec.name), normalise=False, shift=False)
            for spec in specs
        ]

    def extractor(self, name: str) -> str:
        """The folder of a model that holds a trained extractor alone."""
        folder = self.work / "starts" / name
        if not (folder / CARD_FILE).exists():
            store, labels = open_store(str(self.work)), self.prepared().dataset.labels
            _, network = extractors.load(store, name, len(labels))
            assert isinstance(network, VGGishClassifier)
            checkpoint.save(folder, name, (), {name: network.extractor}, [], {})
        return str(folder)


def measured(several: Side, one: Side, folds: Sequence[int]) -> list[dict[str, Any]]:
    """Figures of both, on the same mixtures."""
    prepared = several.prepared()
    tests = score(prepared, several.members(folds))
    clips = np.concatenate([test.clips for test in tests])
    truth = prepared.dataset.label_sets()[clips]
    members = np.concatenate([test.members for test in tests], axis=1)
    uris = prepared.dataset.clips["uri"].to_numpy()
    heard = [
        _heard(one.model(fold), [uris[clip] for clip in test.clips])
        for fold, test in zip(folds, tests, strict=True)
    ]
    n_members = len(members)
    said = {("several labels", n_members): ensemble.combined(members, "several")}
    if n_members > 1:
        geometric = np.exp(np.log(members + ensemble.LOG_FLOOR).mean(0))
        said["several labels, geometric mean", n_members] = geometric
        said["several labels, its first member", 1] = members[0]
    said["one label, the bundled recipe", len(one.recipe.seeds)] = np.concatenate(heard)
    return [
        {"model": name, "members": n} | _figures(scores, truth)
        for (name, n), scores in said.items()
    ]


def _heard(tagger: Tagger, uris: Sequence[str]) -> FloatArray:
    """Scores (n, K) of some recordings."""
    paths = [uri.removeprefix("file://") for uri in uris]
    return np.stack([tagger.tag(path).prediction.scores for path in paths])


def _figures(scores: FloatArray, truth: BoolArray) -> dict[str, Any]:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :2]
    hits = np.take_along_axis(truth, best, axis=1)
    return {
        "mixtures": len(truth),
        "both among the first two": float(hits.all(1).mean()),
        "first is one of both": float(hits[:, 0].mean()),
        "mAP": mean_average_precision(scores, truth),
        "lwlrap": lwlrap(scores, truth),
    }


if __name__ == "__main__":
    main()
