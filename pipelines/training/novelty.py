"""What a published model tells strange clips by (``tagger.novelty``), from its work folder.

It is compared with the clips that its extractors were trained on. Known clips are the validation
clips, each measured by the extractors that were not trained on it. Extractors without validation
clips, of a fold or of all clips, have those of a cross-validation: where folds are evaluated, each
clip is measured by the extractors that leave out its fold. Test clips of any other kind stay
untouched.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from pipelines.training.scores import Member
from pipelines.training.specs import CLASSIFIER
from pipelines.training.splits import Parts, parts
from pipelines.training.workfolder import extractors
from pipelines.training.workfolder.patches import Prepared
from pipelines.training.workfolder.shared_reads import SharedReads
from tagger.arrays import DoubleArray, FloatArray, IndexArray
from tagger.novelty import LEAST_KNOWN, LIMIT, Heard, Novelty, Reference, texture

WANTED: Final = (
    f"at least {LEAST_KNOWN} validation clips, or clips of folds with as many extractors as it has"
)
"""What novelty needs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Extractors, what they were trained on, and known clips that they were not trained on.

    Attributes
    ----------
    extractors : their names
    views : which of the model's each of them stands for
    trained, known : rows of ``Dataset.clips``
    """

    extractors: tuple[str, ...]
    views: tuple[int, ...]
    trained: IndexArray
    known: IndexArray


def fit(
    prepared: Prepared, published: Sequence[Member], members: Sequence[Member]
) -> Novelty | None:
    """What the published members tell strange clips by; None, and a warning, without known clips.

    Parameters
    ----------
    members : all that are evaluated; those of folds measure known clips for those of all clips
    """
    groups = known_groups(prepared, published, members)
    clips = _Clips(prepared)
    names = _extractors(published)
    measured = [clips.distances(group, len(names)) for group in groups]
    n_known = sum(map(len, measured))
    if n_known < LEAST_KNOWN:
        _log.warning(
            "%d known clips are too few to tell strange ones: that takes %s", n_known, WANTED
        )
        return None
    splits = _splits(prepared, names)
    trained = _union([split.train for split in splits.values()])
    return Novelty.fit(clips.reference(names, trained), np.concatenate(measured))


def about(novelty: Novelty | None) -> dict[str, Any]:
    """What the card tells of it."""
    if novelty is None:
        return {}
    return {"known_clips": len(novelty.known), "false_alarms": round(1 - LIMIT, 4)}


def known_groups(
    prepared: Prepared, published: Sequence[Member], members: Sequence[Member]
) -> list[Group]:
    """The extractors that measure known clips; none where there are no such clips."""
    names = _extractors(published)
    splits = _splits(prepared, _extractors([*published, *members]))
    validated: dict[bytes, list[str]] = defaultdict(list)
    tested: dict[str, list[str]] = defaultdict(list)
    for name, split in splits.items():
        if name in names and len(split.validation):
            validated[split.validation.tobytes()].append(name)
        if split.test_name.startswith("fold-"):
            tested[split.test_name].append(name)
    if validated:
        return [
            _group(
                splits, group, [names.index(name) for name in group], splits[group[0]].validation
            )
            for group in validated.values()
        ]
    return [
        _group(splits, group, range(len(names)), splits[group[0]].test)
        for group in tested.values()
        if len(group) == len(names)
    ]


def _group(
    splits: Mapping[str, Parts], names: Sequence[str], views: Sequence[int], known: IndexArray
) -> Group:
    trained = _union([splits[name].train for name in names])
    return Group(tuple(names), tuple(views), trained, np.setdiff1d(known, trained))


def _extractors(members: Sequence[Member]) -> list[str]:
    """Each once, in order; of members that are a classifier nothing is embedded."""
    return list(dict.fromkeys(name for head, name in members if head != CLASSIFIER))


def _splits(prepared: Prepared, names: Sequence[str]) -> dict[str, Parts]:
    specs = {name: extractors.read_spec(prepared.store, name) for name in names}
    return {name: parts(prepared.dataset, spec.split) for name, spec in specs.items()}


def _union(rows: Sequence[IndexArray]) -> IndexArray:
    return np.unique(np.concatenate(rows))


class _Clips:
    """The clips of a work folder as extractors hear them."""

    def __init__(self, prepared: Prepared) -> None:
        self._reads = SharedReads(prepared, np.arange(len(prepared.dataset.clips)), copies=0)

    def reference(self, names: Sequence[str], trained: IndexArray) -> Reference:
        """What extractors were trained on."""
        return Reference.of(_those(self._heard(names), trained))

    def distances(self, group: Group, n_extractors: int) -> DoubleArray:
        """Of a group's known clips, (n, n_extractors + 1); NaN in the views of other extractors."""
        heard = self._heard(group.extractors)
        reference = Reference.of(_those(heard, group.trained))
        known = _those(heard, group.known)
        found = np.full((len(known), n_extractors + 1), np.nan)
        for row, clip in zip(found, known, strict=True):
            row[[*group.views, n_extractors]] = reference.distances(clip)
        return found

    @cached_property
    def _textures(self) -> list[FloatArray]:
        takes = self._reads.patches.takes
        return [texture(part) for part in np.split(takes.values, takes.starts[1:-1])]

    def _heard(self, names: Sequence[str]) -> dict[int, Heard]:
        """Each clip that could be prepared, by its row."""
        loaded = self._reads.patches
        values = np.stack([self._reads.embeddings(name).takes.values for name in names])
        parts = np.split(values.astype(np.float32), loaded.takes.starts[1:-1], axis=1)
        heard = map(Heard, parts, self._textures)
        return dict(zip(loaded.clips.tolist(), heard, strict=True))


def _those(heard: Mapping[int, Heard], rows: IndexArray) -> list[Heard]:
    """Those clips that could be prepared."""
    return [heard[row] for row in rows.tolist() if row in heard]
