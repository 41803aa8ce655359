"""What tagging a recording gives: tags, times, embeddings and attention; needs no torch.

Conventions: K is the number of classes; times are seconds in the original recording. What is shown
of a result (``repr``) is short: tags and seconds, and of arrays their shapes.
"""

from dataclasses import dataclass, field

from tagger.arrays import DoubleArray, FloatArray
from tagger.audio import Signal
from tagger.schema import NONE_OF_THESE


@dataclass(frozen=True)
class Tag:
    """One predicted tag of a clip.

    Attributes
    ----------
    rank : from 1, the best
    tag, mid : name and AudioSet identifier of the label; ``mid`` is None where it has none
    score : the ensemble's probability of the tag. Over all labels they sum to 1; but not with a
        model whose clips may have several labels (``Card.labelling``), where each stands by itself
    max_score : its score in the best bag
    heard_s : seconds of the bags in which it is heard (``Event``)

    The last two are None where the members' bags differ in size.
    """

    rank: int
    tag: str
    mid: str | None
    score: float
    max_score: float | None = None
    heard_s: float | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the ensemble says of one clip.

    Attributes
    ----------
    scores : (K,) float32: mean over bags, then over members, as ``ensemble.combined`` makes it
    bag_scores : (n_bags, K) float32, that mean over members of each bag; empty when the members'
        bags differ in size
    attention : per member (n_bags, n_levels, n_segments, K) float32, the weights p
    """

    scores: FloatArray
    bag_scores: FloatArray
    attention: tuple[FloatArray, ...]

    def __repr__(self) -> str:
        weights = ", ".join(str(member.shape) for member in self.attention)
        return f"<Prediction of {len(self.scores)} scores, attention {weights}>"


@dataclass(frozen=True, eq=False)
class Moment:
    """One tag of one bag.

    Attributes
    ----------
    bag : number of the bag in the clip, from 0
    start_s, end_s : where it lies in the recording
    tag, score : as of ``Tag``, in this bag alone
    attention : (n_segments,) float32, a weight per segment of the bag that sums to 1: the mean over
        members and levels. A segment that is repeated to fill the bag stands once, with the sum.
    """

    bag: int
    start_s: float
    end_s: float
    tag: str
    score: float
    attention: FloatArray = field(repr=False)


@dataclass(frozen=True)
class Event:
    """A stretch of the recording in which a tag was heard (``tagger.events``).

    Attributes
    ----------
    tag, mid : as of ``Tag``
    start_s, end_s : where it lies in the recording, to the length of a bag
    peak_score, mean_score : over its bags
    """

    tag: str
    mid: str | None
    start_s: float
    end_s: float
    peak_score: float
    mean_score: float


@dataclass(frozen=True, eq=False)
class Result:
    """Everything about one tagged recording.

    Attributes
    ----------
    signal : what is known of the recording
    tags : best first
    embeddings : by name of the extractor (n_segments, 128) float32
    start_s, end_s : (n_segments,) float64, where each segment lies in the recording
    timeline : the tags of each bag
    events : when each tag was heard
    prediction : scores of all labels and raw attention weights
    novelty : how unlike it is to all that the model was trained on, in [0, 1] (``tagger.novelty``);
        None where the model cannot tell
    none_of_these : whether that is beyond the model's limit, so that the tags are but the nearest
    """

    signal: Signal
    tags: tuple[Tag, ...]
    embeddings: dict[str, FloatArray]
    start_s: DoubleArray
    end_s: DoubleArray
    timeline: tuple[Moment, ...]
    events: tuple[Event, ...]
    prediction: Prediction
    novelty: float | None = None
    none_of_these: bool | None = None

    def __repr__(self) -> str:
        tags = ", ".join(f"{tag.tag} {tag.score:.2f}" for tag in self.tags) or "no tag"
        lost = ", damaged" if self.signal.damage else ""
        strange = f"{NONE_OF_THESE}, nearest " if self.none_of_these else ""
        return f"<Result of {self.signal.duration_s:.2f} s{lost}: {strange}{tags}>"
