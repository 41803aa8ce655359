"""Test clips and what the members of an ensemble make of them (paper sections 3.5, 4.1, 4.2).

The score of a clip is the mean over its bags (or windows), then over members as
``ensemble.combined`` takes it.
Members that were trained for the same test clips form one ensemble: all four of the paper's
extractors, or those of one fold. Where there are folds, every clip is scored by the members that
have not seen it.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.training.specs import CLASSIFIER
from pipelines.training.splits import Parts, parts
from pipelines.training.workfolder import extractors, heads
from pipelines.training.workfolder.patches import Prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger import ensemble, metrics
from tagger.arrays import IndexArray
from tagger.labels import Labelling
from tagger.prediction import predict

Scores = npt.NDArray[np.float32]
Member = tuple[str, str]
"""A head and the extractor that it stands upon."""


@dataclass(frozen=True)
class Scored:
    """Test clips with their scores.

    Attributes
    ----------
    clips : (n,) rows of ``Dataset.clips``
    members : (n_members, n, K), each the mean over bags
    labelling : of the clips
    """

    test_name: str
    names: tuple[Member, ...]
    clips: IndexArray
    members: Scores
    labelling: Labelling = "one"

    @property
    def ensemble(self) -> Scores:
        """Scores (n, K) of the ensemble; 0 everywhere for a clip that no member could score."""
        scores = ensemble.combined(self.members, self.labelling)
        return np.where(_answered(self.members)[:, None], scores, np.float32(0))

    @property
    def ranking(self) -> IndexArray:
        """The best classes (n, 3) by the ensemble; -1 for a clip that no member could score."""
        return _ranking(self.ensemble, self.members)

    def ranking_of(self, member: int) -> IndexArray:
        """The best classes (n, 3) by one member; -1 for a clip that it could not score."""
        return _ranking(self.members[member], self.members[member : member + 1])


def score(prepared: Prepared, members: tuple[Member, ...]) -> list[Scored]:
    """Each ensemble's test clips, scored; members that test nothing are left out."""
    tests: dict[str, Parts] = {}
    groups: dict[str, list[Member]] = defaultdict(list)
    for head, extractor in members:
        split = parts(prepared.dataset, extractors.read_spec(prepared.store, extractor).split)
        if len(split.test):
            tests[split.test_name] = split
            groups[split.test_name].append((head, extractor))
    if not tests:
        return []
    clips = np.unique(np.concatenate([split.test for split in tests.values()]))
    reads = SharedReads(prepared, clips, copies=0)
    by_extractor = sorted(
        ((name, member) for name, group in groups.items() for member in group),
        key=lambda pair: pair[1][1],
    )
    scores = {
        member: member_scores(reads, member, tests[name].test) for name, member in by_extractor
    }
    labelling = prepared.dataset.labelling
    return [
        Scored(
            name, tuple(group), tests[name].test, np.stack([scores[m] for m in group]), labelling
        )
        for name, group in sorted(groups.items())
    ]


def member_scores(reads: SharedReads, member: Member, clips: IndexArray) -> Scores:
    """Scores (n_clips, K) of one member; a clip that could not be prepared scores 0 everywhere."""
    head, extractor = member
    store, dataset = reads.prepared.store, reads.prepared.dataset
    n_classes = len(dataset.labels)
    if head == CLASSIFIER:
        spec, network = extractors.load(store, extractor, n_classes)
        loaded = reads.patches
        every = extractors.examples(spec, loaded.takes)
    else:
        head_spec, network = heads.load(store, head, extractor, n_classes, dataset.labelling)
        loaded = reads.embeddings(extractor)
        every = heads.examples(head_spec, loaded.takes)
    examples = loaded.select(every, clips, copies=0)
    probabilities, _ = predict(network, examples, np.arange(len(examples)))
    scores = np.zeros((len(clips), n_classes), np.float32)
    place_of = {int(clip): place for place, clip in enumerate(clips)}
    for take in np.unique(examples.takes):
        rows = slice(*np.searchsorted(examples.takes, [take, take + 1]))
        scores[place_of[int(loaded.clips[take])]] = ensemble.clip_mean(probabilities[rows])
    return scores


def _ranking(scores: Scores, members: Scores) -> IndexArray:
    ranking = metrics.rank(scores)
    ranking[~_answered(members)] = -1
    return ranking


def _answered(members: Scores) -> npt.NDArray[np.bool_]:
    """Which clips (n,) some member could score."""
    answered: npt.NDArray[np.bool_] = np.any(members, axis=(0, 2))
    return answered
