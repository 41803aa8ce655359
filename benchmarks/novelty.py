"""Is a sound that a model has never heard told from those it knows? Each kind left out in turn.

    python -m benchmarks.novelty DATA --work WORK [--minutes 11] [--write]

DATA is ESC-10, or any data set with folds that ``prepare`` takes. For each kind a network of the
bundled model's size, trained much as that is, learns the other kinds on all folds but one. Then it
hears the clips of that fold, which it knows, and all clips of the kind that it does not. Several
scores are compared:

- AUROC: how often a strange clip has a higher score than a known one;
- false alarms: nine tenths of the known clips set a limit as ``tagger.novelty`` does, and the last
  tenth is measured, each tenth in turn. Found: strange clips beyond these limits.

Kind k is left out with fold k mod n. Networks are kept in WORK: a repeated command trains what is
missing, for so many minutes, and compares what is there.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from benchmarks.reporting import show, write
from pipelines.paper.bundled_recipe import RECIPE
from pipelines.storage.store import open_store
from pipelines.training.prepare import plan_shards, write_shard
from pipelines.training.workfolder.patches import load_patches, open_prepared
from tagger.attention import MultiLevelAttention
from tagger.configs import TrainingConfig
from tagger.dataset import load
from tagger.examples import Examples, Takes
from tagger.heard import Heard, texture
from tagger.novelty import LIMIT, NEAR
from tagger.reference import Reference
from tagger.training import Trainer
from tagger.vggish import (
    NormalisedClassifier,
    VGGish,
    VGGishClassifier,
    initialise,
    initialise_from_data,
)

EXTRACTOR: Final = TrainingConfig(
    epochs=4,
    patience=None,
    batches="balanced",
    learning_rate=2e-3,
    weight_decay=1e-4,
    one_cycle=True,
    average=0.99,
    mixup=0.2,
)
HEAD: Final = TrainingConfig(
    epochs=10, patience=None, batches="examples", batch_size=128, one_cycle=True, mixup=0.2
)
COPIES: Final = 4  # pitch-shifted copies of a clip that an extractor learns from
HEAD_COPIES: Final = 3
SEED: Final = 0
NOTE: Final = (
    "For each kind one extractor and one head upon it, seed 0, trained on three folds of the other "
    "kinds; the known clips are those of the fourth fold. Columns of kinds: AUROC. Features of "
    "textures, axes and neighbours were tuned on these same kinds, and then the views were chosen "
    "among 791 combinations; that choice made on nine kinds has .794 on the tenth, each in turn."
)
INITIAL_PATCHES: Final = 400

N_PARTS: Final = 10  # of the known clips
EARLIER: Final = 192  # features of textures before they had modulations
VIEWS: Final = {
    "all four views": [0, 1, 2, 3],
    "without dissent": [0, 1, 2],
    "without doubt": [0, 1, 3],
    "without texture": [0, 2, 3],
    "without the embedding": [1, 2, 3],
    "embedding and doubt, as of `retag`": [0, 2],
    "embedding: nearest, cosine": [0],
    "texture: local outlier factor": [1],
    "doubt: 1 - largest score": [2],
    "dissent of texture and scores": [3],
}
"""The views of ``tagger.reference``, all of them and some."""

Array = npt.NDArray[Any]
Arrays = dict[str, Array]


@dataclass(frozen=True)
class Sounds:
    """Takes of all clips: their patches lie one after the other.

    Attributes
    ----------
    starts : (n_takes + 1,), where each take begins in ``patches``
    clips, copies : (n_takes,)
    truth, folds : (n_clips,)
    """

    patches: Array
    starts: Array
    clips: Array
    copies: Array
    truth: Array
    folds: Array
    kinds: list[str]

    def examples(self, values: Array, takes: Array, labels: Array, bag: int = 0) -> Examples:
        """Of some takes: one of each value, or of each bag."""
        every = Takes(values, self.starts, labels, int(labels.max()) + 1)
        examples = every.bags(bag) if bag else every.single()
        rows = np.isin(examples.takes, takes)
        return replace(
            examples,
            index=examples.index[rows],
            labels=examples.labels[rows],
            takes=examples.takes[rows],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--work", required=True)
    parser.add_argument("--minutes", type=float, default=0.0, help="to train for")
    parser.add_argument("--write", action="store_true", help="keep the figures in results/")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    sounds = prepared(flags.data, flags.work)
    until = time.monotonic() + 60 * flags.minutes
    measured: dict[str, dict[str, dict[str, float]]] = {}
    for kind, name in enumerate(sounds.kinds):
        path = Path(flags.work, f"without-{name}.safetensors")
        if not path.exists() and time.monotonic() < until:
            save_file(heard_by_network(sounds, kind), path)
        if path.exists():
            measured[name] = compared(sounds, kind, load_file(path))
    rows = table(measured)
    show(f"{len(measured)} kinds left out in turn", rows)
    if flags.write:
        write("novelty", rows, note=NOTE)


def prepared(data: str, work: str) -> Sounds:
    """Patches of the clips and their copies, as the bundled model's recipe makes them."""
    job = replace(RECIPE, copies=COPIES).prepare(data, work)
    store, dataset = open_store(work), load(data)
    plan = plan_shards(dataset, job, store)
    for number in range(plan.n_shards - len(store.list("patches")), 0, -1):
        write_shard(plan, plan.n_shards - number)
    loaded = load_patches(open_prepared(store), np.arange(len(dataset.clips)), COPIES)
    return Sounds(
        loaded.takes.values,
        loaded.takes.starts,
        loaded.clips,
        loaded.copies,
        dataset.truth(),
        dataset.clips["fold"].to_numpy().astype(int),
        list(dataset.labels.names),
    )


def divided(sounds: Sounds, kind: int) -> tuple[Array, Array, Array]:
    """Which clips (n_clips,) are trained on, known but not trained on, and strange."""
    folds = np.unique(sounds.folds)
    held_out = sounds.folds == folds[kind % len(folds)]
    strange = sounds.truth == kind
    return ~held_out & ~strange, held_out & ~strange, strange


def heard_by_network(sounds: Sounds, kind: int) -> Arrays:
    """Train without a kind; what the networks then make of each clip as it is."""
    labels = sounds.truth - (sounds.truth > kind)  # without a gap
    labels = np.where(sounds.truth == kind, 0, labels)[sounds.clips]
    takes = np.flatnonzero(divided(sounds, kind)[0][sounds.clips])
    network = trained_extractor(sounds, takes, labels)
    embeddings = outputs(network.extractor, sounds.patches)
    few = takes[sounds.copies[takes] <= HEAD_COPIES]
    head = trained_head(sounds, few, labels, embeddings)
    clips = sounds.examples(
        embeddings, np.flatnonzero(sounds.copies == 0), labels, RECIPE.network.n_segments
    )
    made_up = made_up_patches(sounds, takes[sounds.copies[takes] == 0])
    return {
        "embeddings": embeddings,
        "maps": outputs(
            lambda x: network.extractor.features(x.unsqueeze(1)).mean((2, 3)), sounds.patches
        ),
        "classifier": outputs(network.classifier, embeddings),
        "head": outputs(head, clips.inputs(np.arange(len(clips)))),  # one bag a clip
        "made_up": outputs(network.extractor, made_up),
        "made_up_textures": texture(made_up),
    }


def trained_extractor(sounds: Sounds, takes: Array, labels: Array) -> VGGishClassifier:
    examples = sounds.examples(sounds.patches, takes, labels)
    torch.manual_seed(SEED)
    network = VGGishClassifier(VGGish(RECIPE.vggish), examples.n_classes)
    every = max(1, len(examples) // INITIAL_PATCHES)
    sample = examples.inputs(np.arange(0, len(examples), every))
    initialise_from_data(network, torch.from_numpy(sample))
    normalised = NormalisedClassifier(network)
    training = replace(EXTRACTOR, seed=SEED)
    fit(Trainer(normalised, examples, None, training), normalised)
    return normalised.folded().eval()


def trained_head(
    sounds: Sounds, takes: Array, labels: Array, embeddings: Array
) -> MultiLevelAttention:
    examples = sounds.examples(embeddings, takes, labels, RECIPE.network.n_segments)
    torch.manual_seed(SEED)
    head = MultiLevelAttention(examples.n_classes, RECIPE.network)
    initialise(head)
    fit(Trainer(head, examples, None, replace(HEAD, seed=SEED)), head)
    return head.eval()


def fit(trainer: Trainer, network: torch.nn.Module) -> None:
    while not trainer.finished:
        trainer.epoch()
    network.load_state_dict(trainer.weights())


@torch.inference_mode()
def outputs(network: Any, values: Array) -> Array:
    parts = np.array_split(values, max(1, len(values) // 256))
    return np.concatenate([network(torch.tensor(part, dtype=torch.float32)) for part in parts])


def made_up_patches(sounds: Sounds, takes: Array) -> Array:
    """Other data for a reject class: patches mixed, upside down, shuffled in time, and noise."""
    rng = np.random.default_rng(SEED)
    rows = np.concatenate([np.arange(*sounds.starts[[take, take + 1]]) for take in takes])
    patches = sounds.patches[rng.permutation(rows)].astype(np.float32)
    mixed, flipped, shuffled, noise = np.array_split(patches, 4)
    mixed = np.logaddexp(mixed, rng.permutation(mixed))
    shuffled = np.stack([rng.permutation(patch) for patch in shuffled])
    level = noise.mean(1, keepdims=True)
    noise = level + noise.std(1, keepdims=True) * rng.standard_normal(noise.shape)
    return np.concatenate([mixed, flipped[:, :, ::-1], shuffled, noise]).astype(np.float32)


def compared(sounds: Sounds, kind: int, heard: Arrays) -> dict[str, dict[str, float]]:
    """Figures of each score."""
    trained, known, strange = divided(sounds, kind)
    clips = [heard_clip(sounds, heard, clip) for clip in range(len(trained))]
    found = scores(sounds, heard, trained)
    figures = {name: measured(score, known, strange) for name, score in found.items()}
    distances = distances_of(sounds, heard, clips, kind)
    earlier = distances.copy()[:, :3]
    earlier[:, 1] = found["texture: nearest"]
    figures["before: nearest texture in its place, no dissent"] = measured(
        partial(strangeness, earlier), known, strange
    )
    for name, views in VIEWS.items():
        by_known = partial(strangeness, distances[:, views])
        figures[name] = measured(by_known, known, strange)
    return figures


def distances_of(sounds: Sounds, heard: Arrays, clips: list[Heard], kind: int) -> Array:
    """Of every clip, in the four views."""
    trained, _, _ = divided(sounds, kind)
    labels = sounds.truth[trained, None] == np.delete(np.arange(len(sounds.kinds)), kind)
    reference = Reference.of([clips[clip] for clip in np.flatnonzero(trained)], labels)
    probabilities = softmax(of_clips(sounds, heard["head"]))
    pairs = zip(clips, probabilities, strict=True)
    return np.array([reference.distances(clip, each[None]) for clip, each in pairs])


def strangeness(distances: Array, known: Array) -> Array:
    """As ``tagger.novelty`` has it, (n_clips,), but for the share of the clip itself."""
    found = np.log(distances + NEAR)
    strange: Array = ((found - found[known].mean(0)) / found[known].std(0)).mean(1)
    return strange


def measured(
    score_of: Array | Callable[[Array], Array], known: Array, strange: Array
) -> dict[str, float]:
    """AUROC, false alarms and strange clips found.

    Parameters
    ----------
    score_of : the score (n_clips,), or what gives it by rows of known clips
    """
    by_known = score_of if callable(score_of) else lambda _: score_of
    every = np.random.default_rng(SEED).permutation(np.flatnonzero(known))
    score = by_known(every)
    truth = np.repeat([0, 1], [known.sum(), strange.sum()])
    figures = {"auroc": float(roc_auc_score(truth, np.r_[score[known], score[strange]]))}
    beyond, found = [], []
    for part in np.array_split(every, N_PARTS):
        others = np.setdiff1d(every, part)
        score = by_known(others)
        rank = int(np.floor(LIMIT * (len(others) + 1)))  # least of them that is beyond
        limit = np.sort(score[others])[min(rank, len(others) - 1)]
        beyond.extend(score[part] > limit)
        found.append(np.mean(score[strange] > limit))
    return figures | {"false_alarms": float(np.mean(beyond)), "found": float(np.mean(found))}


def heard_clip(sounds: Sounds, heard: Arrays, clip: int) -> Heard:
    rows = slice(*take_of(sounds, clip))
    return Heard(heard["embeddings"][None, rows], texture(sounds.patches[rows]))


def of_clips(sounds: Sounds, rows: Array) -> Array:
    """Rows of takes that are no copies, in the order of the clips."""
    ordered: Array = rows[np.argsort(sounds.clips[sounds.copies == 0])]
    return ordered


def take_of(sounds: Sounds, clip: int) -> Array:
    """First and last row of a clip as it is."""
    (take,) = np.flatnonzero((sounds.clips == clip) & (sounds.copies == 0))
    return sounds.starts[[take, take + 1]]


def scores(sounds: Sounds, heard: Arrays, trained: Array) -> Arrays:
    """The other scores, (n_clips,) each; the higher, the stranger."""
    spans = [take_of(sounds, clip) for clip in range(len(trained))]

    def mean(values: Array) -> Array:
        return np.stack([values[slice(*span)].mean(0) for span in spans])

    logits = of_clips(sounds, heard["head"])
    probabilities = softmax(logits)
    of_extractor = mean(softmax(heard["classifier"]))
    embeddings, maps = mean(heard["embeddings"]), mean(heard["maps"])
    textures = np.stack(
        [texture(sounds.patches[slice(*span)])[:, :EARLIER].mean(0) for span in spans]
    )
    textures = (textures - textures[trained].mean(0)) / textures[trained].std(0)
    labels = sounds.truth[trained]
    return {
        "head: entropy": -(probabilities * np.log(probabilities + 1e-8)).sum(1),
        "head: largest logit": -logits.max(1),
        "head: energy": -np.log(np.exp(logits).sum(1)),
        "extractor: largest probability": -of_extractor.max(1),
        "nearest embedding, Euclidean": nearest(embeddings, trained),
        "fifth embedding, cosine": nearest(unit(embeddings), trained, 5),
        "texture: nearest": nearest(textures, trained),
        "nearest maps, cosine": nearest(unit(maps), trained),
        "Mahalanobis": mahalanobis(embeddings, trained, labels),
        "relative Mahalanobis": mahalanobis(embeddings, trained, labels)
        - mahalanobis(embeddings, trained, np.zeros_like(labels)),
        "reject class on made-up sounds": rejected(sounds, heard, trained, spans),
    }


def softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    shares: Array = exponentials / exponentials.sum(1, keepdims=True)
    return shares


def unit(vectors: Array) -> Array:
    directions: Array = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    return directions


def nearest(vectors: Array, trained: Array, k: int = 1) -> Array:
    """Distance from the k-th nearest training clip."""
    apart = np.linalg.norm(vectors[:, None] - vectors[trained], axis=2)
    kth: Array = np.sort(apart, axis=1)[:, k - 1]
    return kth


def mahalanobis(vectors: Array, trained: Array, labels: Array) -> Array:
    """Squared distance from the nearest class, by one shrunk covariance (Ledoit and Wolf)."""
    known = vectors[trained]
    means = np.stack([known[labels == label].mean(0) for label in np.unique(labels)])
    which = np.searchsorted(np.unique(labels), labels)
    precision = LedoitWolf(assume_centered=True).fit(known - means[which]).precision_
    apart = vectors[:, None] - means
    squares: Array = np.einsum("nci,ij,ncj->nc", apart, precision, apart).min(1)
    return squares


def rejected(sounds: Sounds, heard: Arrays, trained: Array, spans: list[Array]) -> Array:
    """Probability that a detector gives to made-up sounds, by embedding and texture."""
    rows = [slice(*span) for span in spans]
    real = [np.hstack([heard["embeddings"][row], texture(sounds.patches[row])]) for row in rows]
    mine = np.concatenate([real[clip] for clip in np.flatnonzero(trained)])
    made_up = np.hstack([heard["made_up"], heard["made_up_textures"]])
    scale = StandardScaler().fit(mine)
    detector = LogisticRegression(C=0.1, max_iter=500)
    both = scale.transform(np.concatenate([mine, made_up]))
    detector.fit(both, np.repeat([0, 1], [len(mine), len(made_up)]))
    return np.array([detector.decision_function(scale.transform(each)).mean() for each in real])


def table(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A row for each score, the best first: means over the kinds, and AUROC of each kind."""
    rows = []
    for score in next(iter(measured.values()), {}):
        of_kinds = {kind: figures[score] for kind, figures in measured.items()}
        names = ("auroc", "false_alarms", "found")
        means = {name: float(np.mean([each[name] for each in of_kinds.values()])) for name in names}
        each = {kind: figures["auroc"] for kind, figures in of_kinds.items()}
        rows.append({"score": score, **means, **each})
    return sorted(rows, key=lambda row: -row["auroc"])


if __name__ == "__main__":
    main()
