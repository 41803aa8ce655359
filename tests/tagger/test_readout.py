"""Predictions in words and seconds."""

import numpy as np
import pytest

from tagger import segments
from tagger.calibration import Calibration
from tagger.card import Card
from tagger.card_parts import ExtractorCard, MemberCard
from tagger.labels import Label
from tagger.readout import Readout
from tagger.results import Event, Prediction

LABELS = [Label("Rain", "/m/r"), Label("Dog", None), Label("Cat", None), Label("Saw", None)]


def prediction(scores, bag_scores=(), n_segments=2):
    bags = np.array(bag_scores, np.float32).reshape(-1, len(LABELS))
    attention = np.full((len(bags), 1, n_segments, len(LABELS)), 1 / n_segments, np.float32)
    return Prediction(np.array(scores, np.float32), bags, (attention,))


def times(n_segments):
    return segments.segment_times(n_segments, 0.0, 0.96 * n_segments)


def test_top_k_and_threshold_choose_tags():
    found = prediction([0.1, 0.6, 0.05, 0.25])

    def names(**settings):
        return [tag.tag for tag in Readout(LABELS, **settings).tags(found, times(2))]

    assert names() == ["Dog", "Saw", "Rain"]
    assert names(top_k=9, threshold=0.2) == ["Dog", "Saw"]
    assert names(threshold=0.7) == []


def test_each_label_has_a_threshold_of_its_own():
    """The best of the labels that reach theirs: a third may come before a second that does not."""
    least = np.array([0.05, 0.7, 0.0, 0.25])
    readout = Readout(LABELS, top_k=2, threshold=least, event_threshold=least)
    found = prediction([0.1, 0.6, 0.05, 0.25], [[0.04, 0.9, 0, 0], [0.06, 0.6, 0, 0.25]])
    tags = readout.tags(found, times(4))
    assert [(tag.rank, tag.tag) for tag in tags] == [(1, "Saw"), (2, "Rain")]
    assert [tag.heard_s for tag in tags] == [pytest.approx(1.92)] * 2  # in the second bag
    moments = readout.timeline(found, times(4))
    assert [(at.bag, at.tag) for at in moments] == [(0, "Dog"), (0, "Cat"), (1, "Saw"), (1, "Rain")]
    heard = {(event.tag, event.start_s) for event in readout.events(found, times(4))}
    assert heard == {("Dog", 0.0), ("Cat", 0.0), ("Rain", 1.92), ("Saw", 1.92)}


def a_card(calibration):
    extractor = ExtractorCard("a", {}, "a.safetensors", "0" * 64)
    member = MemberCard("a", "attention", {}, "b.safetensors", "0" * 64)
    return Card("m", tuple(LABELS), (extractor,), (member,), calibration=calibration)


def test_thresholds_are_those_of_the_card_where_none_are_told():
    found = Readout.of(a_card(Calibration(1.0, (0.1, 0.2, None, 0.4))))
    for least in (found.threshold, found.event_threshold):
        assert list(least) == [0.1, 0.2, np.inf, 0.4]
    told = Readout.of(a_card(Calibration(1.0, (0.1, 0.2, None, 0.4))), 3, 0.0, 0.6)
    assert (told.threshold, told.event_threshold) == (0.0, 0.6)
    assert Readout.of(a_card(None)) == Readout(tuple(LABELS), 3, 0.0, 0.5)


def test_a_tag_tells_its_best_bag_and_how_long_it_was_heard():
    scores = [[0.7, 0.1, 0, 0], [0.2, 0.3, 0, 0], [0.5, 0.4, 0, 0]]
    found = prediction([0.5, 0.3, 0.1, 0.1], scores)
    rain, dog, _ = Readout(LABELS).tags(found, times(5))  # the last bag has one segment
    assert (rain.mid, rain.max_score, rain.heard_s) == ("/m/r", pytest.approx(0.7), 3 * 0.96)
    assert (dog.max_score, dog.heard_s) == (pytest.approx(0.4), 0.0)


def test_events_lie_in_the_recording_in_order_of_time():
    scores = [[0.1, 0.9, 0, 0], [0.6, 0.1, 0, 0], [0.8, 0.1, 0, 0], [0.2, 0.7, 0, 0]]
    readout = Readout(LABELS, event_gap_s=1.0)
    found = readout.events(prediction([0.25] * 4, scores), times(8))
    half = pytest.approx
    assert found == (
        Event("Dog", None, 0.0, 1.92, half(0.9), half(0.9)),
        Event("Rain", "/m/r", 1.92, half(5.76), half(0.8), half(0.7)),
        Event("Dog", None, half(5.76), half(7.68), half(0.7), half(0.7)),
    )
