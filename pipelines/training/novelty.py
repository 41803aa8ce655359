"""What a published model tells strange clips by (``tagger.novelty``), from its work folder.

It is compared with the clips that its extractors were trained on. Known clips are the validation
clips, each measured by the members that were not trained on it. Members without validation clips,
of a fold or of all clips, have those of a cross-validation: where folds are evaluated, each clip is
measured by the members that leave out its fold. Test clips of any other kind stay untouched.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from pipelines.training.scores import Member, member_bags
from pipelines.training.specs import CLASSIFIER
from pipelines.training.splits import TEST, Parts, parts
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.patches import Prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger import ensemble
from tagger.arrays import DoubleArray, FloatArray, IndexArray
from tagger.heard import Heard, texture
from tagger.novelty import LEAST_KNOWN, LIMIT, Novelty
from tagger.reference import Reference

WANTED: Final = (
    f"at least {LEAST_KNOWN} validation clips, or clips of folds with as many members as it has"
)
"""What novelty needs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Members, what they were trained on, and known clips that they were not trained on.

    Attributes
    ----------
    trained, known : rows of ``Dataset.clips``
    """

    members: tuple[Member, ...]
    trained: IndexArray
    known: IndexArray


def fit(
    prepared: Prepared, published: Sequence[Member], members: Sequence[Member], temperature: float
) -> Novelty | None:
    """What published members tell strange clips by; None, and a warning, without known clips.

    Parameters
    ----------
    members : all that are evaluated; those of folds measure known clips for those of all clips
    temperature : of the ensemble that is published
    """
    clips = _Clips(prepared, temperature)
    measured = [clips.distances(group) for group in known_groups(prepared, published, members)]
    if (n_known := sum(map(len, measured))) < LEAST_KNOWN:
        _log.warning(
            "the model cannot tell strange clips: there are %d to set a limit by, and it takes %s",
            n_known,
            WANTED,
        )
        return None
    reference = clips.reference(published, _trained(_splits(prepared, published).values()))
    return Novelty.fit(reference, np.concatenate(measured))


def about(novelty: Novelty | None) -> dict[str, Any]:
    """What the card tells of it."""
    if novelty is None:
        return {}
    return {"n_known_clips": len(novelty.known), "false_alarms": round(1 - LIMIT, 4)}


def known_groups(
    prepared: Prepared, published: Sequence[Member], members: Sequence[Member]
) -> list[Group]:
    """The members that measure known clips; none where there are no such clips."""
    validated: dict[bytes, list[Member]] = defaultdict(list)
    tested: dict[str, list[Member]] = defaultdict(list)
    splits = _splits(prepared, [*published, *members])
    for member, split in splits.items():
        if member in published and len(split.validation):
            validated[split.validation.tobytes()].append(member)
        if member[0] != CLASSIFIER and len(split.test) and split.test_name != TEST:
            tested[split.test_name].append(member)
    if validated:
        return [_group(group, splits, splits[group[0]].validation) for group in validated.values()]
    alike = [group for group in tested.values() if len(group) == len(published)]
    return [_group(group, splits, splits[group[0]].test) for group in alike]


def _group(members: Sequence[Member], splits: Mapping[Member, Parts], known: IndexArray) -> Group:
    trained = _trained([splits[member] for member in members])
    return Group(tuple(members), trained, np.setdiff1d(known, trained))


def _splits(prepared: Prepared, members: Sequence[Member]) -> dict[Member, Parts]:
    names = {name: extractors.read_spec(prepared.store, name).split for _, name in members}
    return {member: parts(prepared.dataset, names[member[1]]) for member in members}


def _trained(splits: Iterable[Parts]) -> IndexArray:
    return np.unique(np.concatenate([split.train for split in splits]))


class _Clips:
    """The clips of a work folder as members hear them; by row of ``Dataset.clips``."""

    def __init__(self, prepared: Prepared, temperature: float) -> None:
        self._reads = SharedReads(prepared, np.arange(len(prepared.dataset.clips)), copies=0)
        self._temperature = temperature

    def reference(self, members: Sequence[Member], trained: IndexArray) -> Reference:
        """What members were trained on."""
        heard = self._heard(members)
        rows = [row for row in trained.tolist() if row in heard]
        labels = self._reads.prepared.dataset.label_sets()[rows]
        return Reference.of([heard[row] for row in rows], labels)

    def distances(self, group: Group) -> DoubleArray:
        """Of those known clips of a group that could be prepared, (n, 4)."""
        heard = self._heard(group.members)
        reference = self.reference(group.members, group.trained)
        scores = self._bag_scores(group)
        found = [reference.distances(heard[row], scores[row]) for row in scores]
        return np.array(found).reshape(len(found), -1)

    def _bag_scores(self, group: Group) -> dict[int, FloatArray]:
        """Of the ensemble, (n_bags, K); of members whose bags differ (1, K), for the whole clip."""
        bags = [member_bags(self._reads, member, group.known) for member in group.members]
        labelling = self._reads.prepared.dataset.labelling
        found = {}
        for row in bags[0]:
            every = [of_member[row] for of_member in bags]
            if len({len(each) for each in every}) > 1:
                every = [ensemble.clip_mean(each)[None] for each in every]
            found[row] = ensemble.combined(np.stack(every), labelling, self._temperature)
        return found

    def _heard(self, members: Sequence[Member]) -> dict[int, Heard]:
        """Each clip that could be prepared."""
        loaded = self._reads.patches
        names = dict.fromkeys(name for _, name in members)
        values = np.stack([self._reads.embeddings(name).takes.values for name in names])
        of_clips = np.split(values.astype(np.float32), loaded.takes.starts[1:-1], axis=1)
        heard = map(Heard, of_clips, self._textures)
        return dict(zip(loaded.clips.tolist(), heard, strict=True))

    @cached_property
    def _textures(self) -> list[FloatArray]:
        takes = self._reads.patches.takes
        return [texture(patches) for patches in np.split(takes.values, takes.starts[1:-1])]
