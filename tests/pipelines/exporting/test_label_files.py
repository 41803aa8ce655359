"""Label files are read back by programs that others wrote."""

import json

import crowsetta
import pysrt
import pytest
import webvtt
from praatio import textgrid as praat

from pipelines.exporting.label_files import FORMATS, Label

LABELS = [
    Label("Dog_bark", 0.0, 5.76, 0.91),
    Label('A "quoted" <tag> & more', 11.52, 17.28, 0.5),
    Label("Dog_bark", 3_600.0, 3_605.1235, 0.755),
]
DURATION_S = 4_000.0


@pytest.fixture
def written(tmp_path):
    def write(kind, labels=LABELS):
        suffix, make = FORMATS[kind]
        path = tmp_path / f"a.wav{suffix}"
        path.write_text(make(labels, DURATION_S), encoding="utf-8")
        return path

    return write


def test_audacity_is_read_by_crowsetta(written):
    annotation = crowsetta.formats.seq.AudSeq.from_file(written("audacity")).to_seq()
    found = zip(annotation.onsets_s, annotation.offsets_s, annotation.labels, strict=True)
    assert list(found) == [  # crowsetta rounds to milliseconds
        (round(x.start_s, 3), round(x.end_s, 3), f"{x.tag} {x.score:.2f}") for x in LABELS
    ]


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # crowsetta's
def test_raven_is_read_by_crowsetta(written):
    found = crowsetta.formats.bbox.Raven.from_file(written("raven"), annot_col="Annotation")
    boxes = found.to_bbox()
    assert [(box.onset, box.offset, box.label) for box in boxes] == [
        (x.start_s, x.end_s, x.tag) for x in LABELS
    ]
    assert {(box.low_freq, box.high_freq) for box in boxes} == {(125.0, 7_500.0)}


def test_srt_is_read_by_pysrt(written):
    found = pysrt.open(str(written("srt")))
    assert [item.index for item in found] == [1, 2, 3]
    assert [(item.start.ordinal, item.end.ordinal, item.text) for item in found] == [
        (round(1000 * x.start_s), round(1000 * x.end_s), f"{x.tag} {x.score:.2f}") for x in LABELS
    ]


def test_vtt_is_read_by_webvtt(written):
    found = webvtt.read(str(written("vtt")))
    assert [cue.start for cue in found] == ["00:00:00.000", "00:00:11.520", "01:00:00.000"]
    assert found[2].end == "01:00:05.124"
    assert found[1].raw_text == 'A "quoted" &lt;tag&gt; &amp; more 0.50'


def test_textgrid_is_read_by_praatio(written):
    grid = praat.openTextgrid(str(written("textgrid")), includeEmptyIntervals=False)
    assert grid.maxTimestamp == DURATION_S
    assert set(grid.tierNames) == {"Dog_bark", 'A "quoted" <tag> & more'}
    assert [tuple(entry) for entry in grid.getTier("Dog_bark").entries] == [
        (0.0, 5.76, "0.91"),
        (3_600.0, pytest.approx(3_605.1235), "0.76"),
    ]


def test_intervals_of_a_textgrid_fill_the_recording(written):
    grid = praat.openTextgrid(str(written("textgrid")), includeEmptyIntervals=True)
    for tier in grid.tiers:
        ends = [0.0, *(entry.end for entry in tier.entries)]
        assert [entry.start for entry in tier.entries] == ends[:-1]
        assert ends[-1] == DURATION_S


def test_json_has_what_the_table_has(written):
    found = json.loads(written("json").read_text())
    assert [Label(**row) for row in found] == LABELS


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_may_have_no_events(written, kind):
    assert written(kind, []).exists()
