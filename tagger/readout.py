"""What a prediction says in words and seconds: tags, timeline, events; needs no torch.

Conventions: K is the number of classes; times are seconds in the original recording.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from tagger import ensemble, segments
from tagger.arrays import DoubleArray
from tagger.calibration import CARD, Threshold
from tagger.card import Card
from tagger.events import EVENT_GAP_S, EVENT_THRESHOLD, heard_s, stretches
from tagger.labels import Label
from tagger.results import Event, Moment, Prediction, Tag

THRESHOLD: Final = 0.0  # least score of a tag, with models that have no thresholds

Times = tuple[DoubleArray, DoubleArray]
"""Start and end of each segment, (n_segments,) seconds each."""


@dataclass(frozen=True)
class Readout:
    """Reads predictions.

    Where the members of an ensemble have bags of different sizes there is a score for the whole
    clip only: tags have neither ``max_score`` nor ``heard_s``, timeline and events are empty.

    Parameters
    ----------
    labels : of the model, in the order of the class numbers
    top_k : tags of a clip, or of a bag, at most
    threshold : least score, in [0, 1], of a tag; one for all labels, or (K,)
    event_threshold : least score of a bag in which a tag is heard; likewise
    event_gap_s : longest gap within one event; by default a bag of six segments (5.76 s) without
        the tag ends none
    """

    labels: Sequence[Label]
    top_k: int = 3
    threshold: float | DoubleArray = THRESHOLD
    event_threshold: float | DoubleArray = EVENT_THRESHOLD
    event_gap_s: float = EVENT_GAP_S

    @classmethod
    def of(
        cls,
        card: Card,
        top_k: int = 3,
        threshold: Threshold = CARD,
        event_threshold: Threshold = CARD,
        event_gap_s: float = EVENT_GAP_S,
    ) -> Self:
        """For the scores of a model; one without thresholds has the defaults of the fields."""
        return cls(
            card.labels,
            top_k,
            card.least_scores(THRESHOLD) if threshold == CARD else threshold,
            card.least_scores(EVENT_THRESHOLD) if event_threshold == CARD else event_threshold,
            event_gap_s,
        )

    def tags(self, prediction: Prediction, times: Times) -> tuple[Tag, ...]:
        """The best tags of a clip, best first."""
        best = ensemble.top_k(prediction.scores, self.top_k, self.threshold)
        bag_scores = prediction.bag_scores
        if len(bag_scores):
            bag_times = _bag_times(prediction, times)
            seconds = heard_s(bag_scores, *bag_times, self.event_threshold)[best].tolist()
            most = bag_scores.max(axis=0)[best].tolist()
        else:
            seconds = most = [None] * len(best)
        return tuple(
            Tag(rank, self.labels[k].name, self.labels[k].mid, float(prediction.scores[k]), *over)
            for rank, (k, *over) in enumerate(zip(best, most, seconds, strict=True), 1)
        )

    def timeline(self, prediction: Prediction, times: Times) -> tuple[Moment, ...]:
        """The best tags of each bag."""
        if not len(prediction.bag_scores):
            return ()
        start_s, end_s = _bag_times(prediction, times)
        weights = np.mean([member.mean(1) for member in prediction.attention], axis=0)
        bags = segments.bags(len(times[0]), weights.shape[1])
        return tuple(
            Moment(
                bag,
                float(start_s[bag]),
                float(end_s[bag]),
                self.labels[k].name,
                float(scores[k]),
                np.bincount(bags[bag] - bags[bag, 0], weights[bag, :, k]).astype(np.float32),
            )
            for bag, scores in enumerate(prediction.bag_scores)
            for k in ensemble.top_k(scores, self.top_k, self.threshold)
        )

    def events(self, prediction: Prediction, times: Times) -> tuple[Event, ...]:
        """When each tag was heard, in order of time."""
        if not len(prediction.bag_scores):
            return ()
        start_s, end_s = _bag_times(prediction, times)
        found = stretches(
            prediction.bag_scores, start_s, end_s, self.event_threshold, self.event_gap_s
        )
        events = [
            Event(
                self.labels[label].name,
                self.labels[label].mid,
                float(start_s[first]),
                float(end_s[last]),
                peak,
                mean,
            )
            for label, first, last, peak, mean in found
        ]
        return tuple(sorted(events, key=lambda event: (event.start_s, event.tag)))


def _bag_times(prediction: Prediction, times: Times) -> Times:
    """Start and end of each bag, (n_bags,) seconds each, from those of the segments."""
    start_s, end_s = times
    bags = segments.bags(len(start_s), prediction.attention[0].shape[2])
    return start_s[bags[:, 0]], end_s[bags.max(axis=1)]
