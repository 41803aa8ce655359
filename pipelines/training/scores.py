"""Test clips and what the members of an ensemble make of them (paper sections 3.5, 4.1, 4.2).

The score of a clip is the mean over its bags (or windows), then over members as
``ensemble.combined`` takes it.
Members that were trained for the same test clips form one ensemble: all four of the paper's
extractors, or those of one fold. Where there are folds, every clip is scored by the members that
have not seen it.
"""

from collections import defaultdict
from collections.abc import Sequence
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


def score(prepared: Prepared, members: Sequence[Member]) -> list[Scored]:
    """Each ensemble's test clips, scored; members that test nothing are left out."""
    splits = _splits(prepared, members)
    return _scored(prepared, [(one, split.test_name, split.test) for one, split in splits])


def score_validation(prepared: Prepared, members: Sequence[Member]) -> list[Scored]:
    """Validation clips, scored by all those members that have them as such; as ``score``."""
    splits = _splits(prepared, members)
    return _scored(prepared, [(one, "validation", split.validation) for one, split in splits])


def _splits(prepared: Prepared, members: Sequence[Member]) -> list[tuple[Member, Parts]]:
    names = {name: extractors.read_spec(prepared.store, name).split for _, name in members}
    return [(member, parts(prepared.dataset, names[member[1]])) for member in members]


def _scored(prepared: Prepared, wanted: Sequence[tuple[Member, str, IndexArray]]) -> list[Scored]:
    """Clips scored by ensembles: those members form one whose clips are the same.

    Parameters
    ----------
    wanted : a member, the name of what it scores, and the clips
    """
    groups: dict[tuple[str, bytes], list[Member]] = defaultdict(list)
    clips_of: dict[Member, IndexArray] = {}
    for member, name, clips in wanted:
        if len(clips):
            groups[name, clips.tobytes()].append(member)
            clips_of[member] = clips
    if not groups:
        return []
    reads = SharedReads(prepared, np.unique(np.concatenate([*clips_of.values()])), copies=0)
    scores = {
        member: member_scores(reads, member, clips_of[member])
        for member in sorted(clips_of, key=lambda member: member[1])
    }
    labelling = prepared.dataset.labelling
    return [
        Scored(
            name,
            tuple(group),
            clips_of[group[0]],
            np.stack([scores[each] for each in group]),
            labelling,
        )
        for (name, _), group in sorted(groups.items())
    ]


def member_scores(reads: SharedReads, member: Member, clips: IndexArray) -> Scores:
    """Scores (n_clips, K) of one member; a clip that could not be prepared scores 0 everywhere."""
    scores = np.zeros((len(clips), len(reads.prepared.dataset.labels)), np.float32)
    place_of = {int(clip): place for place, clip in enumerate(clips)}
    for clip, bags in member_bags(reads, member, clips).items():
        scores[place_of[clip]] = ensemble.clip_mean(bags)
    return scores


def member_bags(reads: SharedReads, member: Member, clips: IndexArray) -> dict[int, Scores]:
    """Probabilities (n_bags, K) by one member of each clip that could be prepared."""
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
    takes, first = np.unique(examples.takes, return_index=True)
    bags = np.split(probabilities, first[1:])
    return dict(zip(loaded.clips[takes].tolist(), bags, strict=True))


def _ranking(scores: Scores, members: Scores) -> IndexArray:
    ranking = metrics.rank(scores)
    ranking[~_answered(members)] = -1
    return ranking


def _answered(members: Scores) -> npt.NDArray[np.bool_]:
    """Which clips (n,) some member could score."""
    answered: npt.NDArray[np.bool_] = np.any(members, axis=(0, 2))
    return answered
