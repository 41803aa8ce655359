"""Answers of people about tags become labels, alone or on top of a data set."""

import pytest

from tagger import dataset
from tagger.errors import CommandError
from tagger.label_texts import from_text

COLUMNS = "uri,label,answer,tag,score,clip_id,model_id"


@pytest.fixture
def saved(tmp_path):
    """``saved(*rows, name=)``: a CSV of (clip, label, answer) as a page saves it, and clips."""

    def save(*rows, name="saved.csv"):
        lines = [COLUMNS]
        for clip, label, answer in rows:
            (tmp_path / clip).parent.mkdir(exist_ok=True)
            (tmp_path / clip).touch()
            lines.append(f"file://{tmp_path}/{clip},{label},{answer},Rain,0.5,{clip},m-1")
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return save


def labels(data):
    """The label of each clip by the end of its URI."""
    return {
        uri.rsplit("/", 1)[1]: label
        for uri, label in zip(data.clips["uri"], data.clips["label"], strict=True)
    }


def test_right_and_other_are_labels_and_the_rest_is_counted(saved):
    path = saved(
        ("a.wav", "Rain", "right"),
        ("b.wav", "Wren", "other"),
        ("c.wav", "", "wrong"),
        ("d.wav", "", "none"),
        ("e.wav", "", "wrong"),
        ("e.wav", "Rain", "other"),
        ("a.wav", "Rain", "right"),
    )
    data = dataset.load(path)
    assert labels(data) == {"a.wav": "Rain", "b.wav": "Wren", "e.wav": "Rain"}
    assert data.labels.names == ("Rain", "Wren")
    (line,) = data.notes
    assert line.endswith("no answer says which label is right: 2")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([("Rain", "right"), ("Wren", "other")], "a.wav is both Rain and Wren; keep one answer"),
        ([("Rain", "right"), ("", "none")], "a.wav is both Rain and none; keep one answer"),
        ([("Rain", "maybe")], "column answer: 'maybe' is not one of right, other, wrong, none"),
        ([("", "other")], "clips without a label: .*a.wav"),
        ([("", "none")], "there is no audio in it"),
    ],
)
def test_one_clear_line(saved, answers, message):
    with pytest.raises(CommandError, match=message) as told:
        dataset.load(saved(*(("a.wav", *answer) for answer in answers)))
    assert "\n" not in str(told.value)


def test_a_data_set_with_corrections(saved, tmp_path):
    saved(*((f"{name}.wav", "", "") for name in "abcd"))
    (tmp_path / "link").symlink_to(tmp_path)
    plain = tmp_path / "all.csv"
    plain.write_text(
        "uri,label,fold\nlink/a.wav,Rain,1\nb.wav,Rain,2\nc.wav,Wren,2\nd.wav,Wren,1\n"
    )
    first = saved(("a.wav", "Wren", "other"), ("b.wav", "", "wrong"), ("e.wav", "Rain", "right"))
    second = saved(("f.wav", "Rain", "other"), ("c.wav", "Wren", "right"), name="more.csv")
    data = dataset.load(plain, corrections=[first, second])
    assert labels(data) == {
        "a.wav": "Wren",
        "b.wav": "Rain",
        "c.wav": "Wren",
        "d.wav": "Wren",
        "e.wav": "Rain",
        "f.wav": "Rain",
    }
    assert data.clips["fold"].tolist() == [1, 2, 2, 1, 1, 2]
    assert data.clips["split"].unique().tolist() == ["train"]
    changed, left_out = data.notes
    assert changed == "corrections: 1 clips of the data set take another label, 2 are new"
    assert left_out.endswith("1")


def test_a_label_that_two_files_of_corrections_give_differently_is_refused(saved):
    data = saved(("a.wav", "Rain", "right"), name="data.csv")
    first = saved(("b.wav", "Rain", "right"))
    second = saved(("b.wav", "Wren", "other"), name="more.csv")
    with pytest.raises(CommandError, match=r"saved.csv, .*more.csv: .*b.wav is both Rain and Wren"):
        dataset.load(data, corrections=[first, second])


def sets(data):
    """The label set of each clip by the end of its URI."""
    return {name: set(from_text(text)) for name, text in labels(data).items()}


def test_where_clips_have_several_labels_a_clip_has_all_that_are_right(saved):
    path = saved(
        ("a.wav", "Rain", "right"),
        ("a.wav", "Wren", "other"),
        ("b.wav", "", "none"),
        ("b.wav", "", "none"),
        ("c.wav", "", "wrong"),
        ("d.wav", "", "wrong"),
        ("d.wav", "Dog", "other"),
    )
    data = dataset.load(path, labels="several")
    assert sets(data) == {"a.wav": {"Rain", "Wren"}, "b.wav": set(), "d.wav": {"Dog"}}
    assert data.notes[0].endswith("no answer says which label is right: 1")


def test_a_clip_with_a_label_and_none_is_refused(saved):
    path = saved(("a.wav", "Rain", "right"), ("a.wav", "", "none"))
    with pytest.raises(CommandError, match=r"a.wav is both \[\"Rain\"\] and \[\]; keep one"):
        dataset.load(path, labels="several")


def test_a_data_set_of_label_sets_with_corrections(saved, tmp_path):
    saved(*((f"{name}.wav", "", "") for name in "abc"))
    plain = tmp_path / "all.csv"
    plain.write_text("uri,label\na.wav,Rain;Dog\nb.wav,Rain\nc.wav,Dog\n")
    more = saved(("b.wav", "Dog", "other"), ("b.wav", "Rain", "right"), ("c.wav", "", "none"))
    data = dataset.load(plain, corrections=[more], labels="several", label_separator=";")
    assert sets(data) == {"a.wav": {"Rain", "Dog"}, "b.wav": {"Rain", "Dog"}, "c.wav": set()}
