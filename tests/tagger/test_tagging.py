"""From a recording to tags: the parts put together as the paper says, and the Python API."""

import io
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tagger import audio, checkpoint, logmel, segments
from tagger.calibration import Calibration
from tagger.card import read_model
from tagger.configs import AttentionConfig, VGGishConfig
from tagger.ensemble import at_temperature
from tagger.errors import ClipError, CommandError, Reason
from tagger.labels import Label
from tagger.readout import Readout
from tagger.tagging import (
    EXTRACTOR_BATCH,
    HEAD_BATCH,
    Tagger,
)

LABELS = [Label("Rain", "/m/06mb1"), Label("Dog"), Label("Bell"), Label("Saw", "/m/01b82r")]
EXTRACTOR = VGGishConfig((2, 3, 4, 5), 6, "none")
HEAD = AttentionConfig(n_segments=3, levels=(1, 3), hidden=7)
RATE = 16_000


@pytest.fixture(scope="module")
def build(make_extractor, make_head, tmp_path_factory) -> Callable[..., Tagger]:
    """``build(heads, precision="float32", labelling="one")`` -> a tagger.

    It has two extractors and a member per head.
    """

    def _build(
        *heads: AttentionConfig,
        precision: str = "float32",
        labelling: str = "one",
        calibration: Calibration | None = None,
    ) -> Tagger:
        folder = tmp_path_factory.mktemp("model")
        extractors = {name: make_extractor(EXTRACTOR, i) for i, name in enumerate("ab")}
        members = [("ba"[i % 2], make_head(4, head, i, labelling)) for i, head in enumerate(heads)]
        how = {"calibration": calibration}
        checkpoint.save(folder, "small", LABELS, extractors, members, {}, **how)
        return Tagger.load(folder, precision=precision)

    return _build


@pytest.fixture(scope="module")
def tagger(build) -> Tagger:
    return build(HEAD, HEAD)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """(n,) float32 at 16 kHz whose loudness changes, so that its segments differ."""
    n = int(seconds * RATE)
    loudness = 10 ** (-2 * np.cos(np.arange(n) / RATE) ** 2)
    return (0.3 * loudness * np.random.default_rng(seed).uniform(-1, 1, n)).astype(np.float32)


def random_embeddings(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, n, 128), dtype=np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize("labelling", ["one", "several"])
def test_a_calibrated_model_s_scores_are_tempered_and_its_tags_reach_their_thresholds(
    build, encode, labelling
):
    """Bags and clips alike, where members have bags of one size; the first label is never a tag."""
    data = encode(noise(6.1), RATE)
    plain = build(HEAD, HEAD, labelling=labelling).tag(data, top_k=4)
    least = (None, 0.0, 0.999, 0.1)
    calibrated = build(HEAD, HEAD, labelling=labelling, calibration=Calibration(0.5, least))
    found = calibrated.tag(data, top_k=4)
    for name in ("scores", "bag_scores"):
        before, after = (getattr(result.prediction, name) for result in (plain, found))
        np.testing.assert_array_equal(after, at_temperature(before, 0.5, labelling))
    scores = dict(zip((label.name for label in LABELS), found.prediction.scores, strict=True))
    limits = dict(zip(scores, (np.inf, *least[1:]), strict=True))
    assert {tag.tag for tag in found.tags} == {k for k in scores if scores[k] >= limits[k]}
    assert {event.tag for event in found.events} <= {"Dog", "Bell", "Saw"}
    assert len(calibrated.tag(data, top_k=4, threshold=0.0).tags) == 4


@torch.inference_mode()
def test_a_recording_passes_through_the_parts_in_the_paper_s_order(tagger, encode):
    """Patches, each member's extractor, bags, head, mean over bags, geometric mean."""
    data = encode(noise(6.1), RATE)
    result = tagger.tag(data, top_k=4)
    patches = torch.from_numpy(logmel.patches(audio.waveform(data)[1]))
    assert len(patches) == 6
    scores = []
    for extractor, head in zip(tagger.extractors[::-1], tagger.heads, strict=True):
        embeddings = torch.cat([extractor(patch[None]) for patch in patches])
        bags = [embeddings[0:3], embeddings[3:6]]
        scores.append(np.mean([softmax(head(bag[None])[0].numpy()) for bag in bags], 0))
    geometric = np.sqrt((scores[0] + 1e-8) * (scores[1] + 1e-8))
    geometric /= geometric.sum()
    np.testing.assert_allclose(result.prediction.scores, geometric, atol=1e-5)
    best = np.argsort(-geometric)
    assert [tag.tag for tag in result.tags] == [LABELS[k].name for k in best]
    assert [tag.mid for tag in result.tags] == [LABELS[k].mid for k in best]
    assert [tag.rank for tag in result.tags] == [1, 2, 3, 4]
    assert sum(tag.score for tag in result.tags) == pytest.approx(1, abs=1e-6)
    for name, extractor in zip("ab", tagger.extractors, strict=True):
        np.testing.assert_allclose(result.embeddings[name], extractor(patches), atol=1e-4)


def test_a_path_its_bytes_an_open_file_and_its_samples_give_the_same(tagger, encode, tmp_path):
    samples = np.stack([noise(3), noise(3, seed=1)], 1)
    path = tmp_path / "a b#ü.wav"
    path.write_bytes(encode(samples, 22_050, "WAV:FLOAT"))
    results = [
        tagger.tag(path),
        tagger.tag(str(path)),
        tagger.tag(path.read_bytes()),
        tagger.tag(io.BytesIO(path.read_bytes())),
        tagger.tag_waveform(samples, 22_050),
    ]
    for result in results:
        assert result.signal == results[0].signal
        assert result.tags == results[0].tags
        np.testing.assert_array_equal(result.embeddings["b"], results[0].embeddings["b"])
    assert results[0].signal.channels == 2


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(9, np.float32), Reason.SILENT),
        (np.zeros(0, np.float32), Reason.EMPTY),
        (np.array([1, np.nan], np.float32), Reason.NON_FINITE),
    ],
)
def test_what_cannot_be_tagged_says_why(tagger, samples, reason):
    with pytest.raises(ClipError) as caught:
        tagger.tag_waveform(samples, RATE)
    assert caught.value.reason is reason


def test_integers_are_tagged_as_the_file_that_holds_them(tagger, encode):
    samples = (noise(3) * 2**15).astype(np.int16)
    of_file = tagger.tag(encode(samples, RATE, "WAV"))
    for kind in ("<i2", ">i2"):
        result = tagger.tag_waveform(samples.astype(kind), RATE)
        assert (result.signal, result.tags) == (of_file.signal, of_file.tags)


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (np.zeros(9, np.float32), TypeError, "tag_waveform"),
        ([0.5], TypeError, "not list"),
        (None, TypeError, "not NoneType"),
        (io.StringIO("RIFF"), TypeError, '"rb"'),
        (".", IsADirectoryError, "is a folder: tag each of its recordings"),
        (Path(), IsADirectoryError, "is a folder"),
    ],
)
def test_what_is_no_recording_is_told_in_a_line(tagger, source, kind, said):
    with pytest.raises(kind, match=said) as caught:
        tagger.tag(source)
    assert "\n" not in str(caught.value)


def test_what_is_shown_of_a_result_is_short(tagger):
    result = tagger.tag_waveform(noise(6), RATE, top_k=2)
    (best, second) = result.tags
    assert repr(result) == (
        f"<Result of 6.00 s: {best.tag} {best.score:.2f}, {second.tag} {second.score:.2f}>"
    )
    assert repr(result.prediction) == (
        "<Prediction of 4 scores, attention (2, 2, 3, 4), (2, 2, 3, 4)>"
    )
    assert "array" not in repr(result.timeline[0])
    assert "damaged" in repr(replace(result, signal=replace(result.signal, damage="cut")))
    assert result == result
    assert len({result, replace(result)}) == 2  # by identity: arrays are neither equal nor not


def test_times_are_those_of_the_recording(tagger):
    """Two seconds of silence are trimmed, and counted."""
    samples = np.concatenate([np.zeros(2 * RATE, np.float32), noise(4), np.zeros(RATE, np.float32)])
    result = tagger.tag_waveform(samples, RATE)
    n = len(result.embeddings["a"])
    assert n == 4
    assert result.signal.content_start_s == pytest.approx(2, abs=0.1)
    expected = result.signal.content_start_s + 0.96 * np.arange(n)
    np.testing.assert_allclose(result.start_s, expected)
    np.testing.assert_allclose(result.end_s, expected + 0.96)


@given(st.lists(st.integers(1, 20), max_size=6))
@settings(max_examples=25, deadline=None)
def test_clips_predicted_together_equal_clips_one_by_one(tagger, lengths):
    clips = [random_embeddings(n, seed) for seed, n in enumerate(lengths)]
    together = tagger.predict(clips)
    assert len(together) == len(clips)
    for clip, prediction in zip(clips, together, strict=True):
        (alone,) = tagger.predict([clip])
        np.testing.assert_allclose(prediction.scores, alone.scores, atol=1e-6)
        np.testing.assert_allclose(prediction.bag_scores, alone.bag_scores, atol=1e-6)
        for ours, theirs in zip(prediction.attention, alone.attention, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_more_bags_than_a_head_takes_at_once(build):
    tagger = build(AttentionConfig(1, hidden=7))
    clip = random_embeddings(HEAD_BATCH + 3)
    (whole,) = tagger.predict([clip])
    (first,), (rest,) = tagger.predict([clip[:, :-3]]), tagger.predict([clip[:, -3:]])
    parts = np.concatenate([first.bag_scores, rest.bag_scores])
    np.testing.assert_allclose(whole.bag_scores, parts, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, EXTRACTOR_BATCH["cpu"] - 1, EXTRACTOR_BATCH["cpu"] + 1])
@torch.inference_mode()
def test_any_number_of_patches_is_embedded(tagger, n):
    patches = np.random.default_rng(0).uniform(-4.6, 4, (n, 96, 64)).astype(np.float32)
    patches.flags.writeable = False  # as they are when they come from shared memory
    embeddings = tagger.embed(patches)
    assert embeddings.shape == (2, n, 128)
    assert embeddings.dtype == np.float32
    for network, found in zip(tagger.extractors, embeddings, strict=True):
        np.testing.assert_allclose(found, network(torch.tensor(patches)), atol=1e-4)


def test_half_precision_patches_are_embedded_in_the_model_s(tagger):
    patches = np.random.default_rng(0).uniform(-4.6, 4, (2, 96, 64)).astype(np.float16)
    expected = tagger.embed(patches.astype(np.float32))
    np.testing.assert_array_equal(tagger.embed(patches), expected)


def test_bfloat16_gives_nearly_the_same(build):
    exact, rough = build(HEAD), build(HEAD, precision="bfloat16")
    patches = logmel.patches(noise(6))
    expected, found = exact.embed(patches), rough.embed(patches)
    assert np.abs(expected - found).max() > 0
    np.testing.assert_allclose(found, expected, atol=0.03 * np.abs(expected).max())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 9])
def test_the_timeline_has_the_tags_of_each_bag(tagger, n):
    (prediction,) = tagger.predict([random_embeddings(n)])
    times = segments.segment_times(n, 0.5, 0.5 + 0.96 * n)
    moments = Readout(LABELS, top_k=2).timeline(prediction, times)
    n_bags = -(-n // 3)
    assert [moment.bag for moment in moments] == [bag for bag in range(n_bags) for _ in range(2)]
    for moment in moments:
        first, last = 3 * moment.bag, min(3 * moment.bag + 3, n)
        assert moment.start_s == pytest.approx(0.5 + 0.96 * first)
        assert moment.end_s == pytest.approx(0.5 + 0.96 * last)
        k = [label.name for label in LABELS].index(moment.tag)
        assert moment.score == pytest.approx(prediction.bag_scores[moment.bag, k])
        assert len(moment.attention) == last - first
        assert moment.attention.dtype == np.float32
        assert moment.attention.sum() == pytest.approx(1, abs=1e-5)


def test_attention_of_a_moment_is_the_mean_over_members_and_levels(tagger):
    """Four segments in bags of three: [0 1 2] and [3 3 3], whose copies are one segment."""
    (prediction,) = tagger.predict([random_embeddings(4)])
    times = segments.segment_times(4, 0, 4 * 0.96)
    for moment in Readout(LABELS, top_k=4).timeline(prediction, times):
        k = [label.name for label in LABELS].index(moment.tag)
        pairs = list(product(prediction.attention, (0, 1)))
        expected = [
            sum(member[moment.bag, level, i, k] for member, level in pairs) / 4 for i in range(3)
        ]
        if moment.bag == 1:
            expected = [sum(expected)]
        np.testing.assert_allclose(moment.attention, expected, atol=1e-6)


def test_a_bag_s_scores_are_the_geometric_mean_of_the_members_on_that_bag(tagger):
    clip = random_embeddings(6)
    (whole,) = tagger.predict([clip])
    for bag, part in enumerate((clip[:, :3], clip[:, 3:])):
        (alone,) = tagger.predict([part])
        np.testing.assert_allclose(whole.bag_scores[bag], alone.scores, atol=1e-6)


def test_members_with_bags_of_different_sizes_have_no_common_timeline(build):
    tagger = build(HEAD, AttentionConfig(2, hidden=7))
    (prediction,) = tagger.predict([random_embeddings(4)])
    assert prediction.scores.sum() == pytest.approx(1, abs=1e-6)
    assert [len(weights) for weights in prediction.attention] == [2, 2]
    assert len(prediction.bag_scores) == 0
    readout, times = Readout(LABELS), segments.segment_times(4, 0, 4)
    assert readout.timeline(prediction, times) == readout.events(prediction, times) == ()
    assert {tag.max_score for tag in readout.tags(prediction, times)} == {None}


@torch.inference_mode()
def test_a_model_of_several_labels_a_clip_gives_each_label_a_probability_of_its_own(build):
    """Sigmoid, mean over bags, arithmetic mean over members; nothing is made to sum to 1."""
    tagger = build(HEAD, HEAD, labelling="several")
    clip = random_embeddings(6)
    (prediction,) = tagger.predict([clip])
    bags = np.array(
        [
            [head(torch.from_numpy(part[None]))[0].numpy() for part in np.split(clip[which], 2)]
            for which, head in zip((1, 0), tagger.heads, strict=True)
        ]
    )
    expected = 1 / (1 + np.exp(-bags.astype(np.float64)))
    np.testing.assert_allclose(prediction.bag_scores, expected.mean(0), atol=1e-6)
    np.testing.assert_allclose(prediction.scores, expected.mean((0, 1)), atol=1e-6)
    times = segments.segment_times(6, 0, 6 * 0.96)
    tags = Readout(LABELS, top_k=4, threshold=0.5).tags(prediction, times)
    assert [tag.score for tag in tags] == sorted(
        (score for score in prediction.scores.tolist() if score >= 0.5), reverse=True
    )


def test_no_clips_no_predictions(tagger):
    assert tagger.predict([]) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_saved_read_and_tagging_alike(make_extractor, make_head, tmp_path, dtype):
    """float16 files move the scores by less than 0.01."""
    recording = noise(4)
    networks = {"a": make_extractor(EXTRACTOR)}, [("a", make_head(4, HEAD))]
    for kind in (torch.float32, dtype):
        checkpoint.save(tmp_path / str(kind), "small", LABELS, *networks, {}, kind)
    exact, stored = (Tagger.load(tmp_path / str(kind)) for kind in (torch.float32, dtype))
    expected = exact.tag_waveform(recording, RATE).prediction.scores
    found = stored.tag_waveform(recording, RATE).prediction.scores
    np.testing.assert_allclose(found, expected, atol=0 if dtype is torch.float32 else 0.01)


@torch.inference_mode()
def test_the_bundled_model_tags_and_embeds_as_its_plain_networks_do():
    tagger = Tagger.load()
    result = tagger.tag_waveform(noise(6), RATE)
    assert result.tags[0].score > 1 / len(tagger.card.labels)
    patches = logmel.patches(noise(6))
    networks = checkpoint.build(read_model()).extractors.values()
    for network, found in zip(networks, tagger.embed(patches), strict=True):
        np.testing.assert_allclose(found, network(torch.tensor(patches)), atol=1e-4)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match=r"cannot read card.json"):
        Tagger.load(tmp_path)


def test_every_level_and_bag_size_tags(build):
    for levels, n_segments in product([(1,), (2, 3)], [1, 6]):
        tagger = build(AttentionConfig(n_segments, levels, hidden=7))
        assert len(tagger.tag_waveform(noise(2), RATE).tags) == 3
