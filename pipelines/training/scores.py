"""Test clips and what the members of an ensemble make of them (paper sections 3.5, 4.1, 4.2).

The score of a clip is the mean over its bags (or windows), then the geometric mean over members.
Members that were trained for the same test clips form one ensemble: all four of the paper's
extractors, or those of one fold. Where there are folds, every clip is scored by the members that
have not seen it.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.training.embed import embedded_takes
from pipelines.training.finetune import examples as extractor_examples
from pipelines.training.finetune import load_extractor, read_spec
from pipelines.training.fit import examples as head_examples
from pipelines.training.fit import load_head
from pipelines.training.jobs import CLASSIFIER
from pipelines.training.splits import parts
from pipelines.training.workfolder.patches import Prepared
from tagger import ensemble
from tagger.arrays import IndexArray
from tagger.prediction import predict

Scores = npt.NDArray[np.float32]
Member = tuple[str, str]


@dataclass(frozen=True)
class Scored:
    """Test clips with their scores.

    Attributes
    ----------
    clips : (n,) rows of ``Dataset.clips``
    members : (n_members, n, K), each the mean over bags
    """

    test_name: str
    names: tuple[Member, ...]
    clips: IndexArray
    members: Scores

    @property
    def ensemble(self) -> Scores:
        return ensemble.geometric_mean(self.members)


def score(prepared: Prepared, members: tuple[Member, ...]) -> list[Scored]:
    """Each ensemble's test clips, scored; members that test nothing are left out."""
    groups = defaultdict(list)
    clips_of: dict[str, IndexArray] = {}
    for head, extractor in members:
        split = parts(prepared.dataset, read_spec(prepared.store, extractor).split)
        if len(split.test):
            groups[split.test_name].append((head, extractor))
            clips_of[split.test_name] = split.test
    scored = []
    for name, group in sorted(groups.items()):
        by_member = [member_scores(prepared, *member, clips_of[name]) for member in group]
        scored.append(Scored(name, tuple(group), clips_of[name], np.stack(by_member)))
    return scored


def member_scores(prepared: Prepared, head: str, extractor: str, clips: IndexArray) -> Scores:
    """Scores (n_clips, K) of one member; a clip that could not be prepared scores 0 everywhere."""
    n_classes = len(prepared.dataset.labels)
    if head == CLASSIFIER:
        spec, network = load_extractor(prepared.store, extractor, n_classes)
        takes, owners = prepared.takes(clips, 0)
        found = extractor_examples(spec, takes)
    else:
        head_spec, network = load_head(prepared.store, head, extractor, n_classes)
        takes, owners = embedded_takes(prepared, extractor, clips, 0)
        found = head_examples(head_spec, takes)
    probabilities, _ = predict(network, found, np.arange(len(found)))
    scores = np.zeros((len(clips), n_classes), np.float32)
    place_of = {int(clip): place for place, clip in enumerate(clips)}
    for take, clip in enumerate(owners):
        rows = slice(*np.searchsorted(found.takes, [take, take + 1]))
        scores[place_of[int(clip)]] = ensemble.clip_mean(probabilities[rows])
    return scores
