"""What is refused before any training starts, and the fingerprint of a data set."""

import shutil

import pytest

from tagger import dataset
from tagger.errors import CommandError


def _csv(folder, rows, columns="uri,label"):
    """A CSV of clips, and a file for each of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if name := row.split(",")[0]:
            (folder / name).write_bytes(bytes(60))
    csv = folder / "all.csv"
    csv.write_text("\n".join([columns, *rows]))
    return csv


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (["a.wav,x", "b.wav,"], "uri,label", r"without a label: /.*/b\.wav"),
        (["a.wav,x", "b.wav,y", "a.wav,y"], "uri,label", r"more than once, .* \(.*\): /.*/a\.wav"),
        (
            ["a.wav,x", "b.wav,x;y"],
            "uri,label",
            "column label: 'x;y' is more than one label: .*",
        ),
        (["a.wav,x,y"], "uri,label,label", "columns that stand twice: label; rename one"),
        (["a.wav,x", ",y"], "uri,label", "without a name"),
        (["a.wav,x,", "b.wav,y,test"], "uri,label,split", "without clips to train on: y"),
        (["a.wav,x,", "b.wav,y,valid"], "uri,label,split", "split is not one of .*: /.*/b.wav"),
        (["a.wav,x,1", "b.wav,y,one"], "uri,label,fold", "not a whole number: /.*/b.wav"),
        (["a.wav,x,1", "b.wav,y,1.5"], "uri,label,fold", "not a whole number: /.*/b.wav"),
        (["a.wav,x,1", "b.wav,y,?"], "uri,label,manually_verified", "neither 0 nor 1: /.*/b.wav"),
        ([], "uri,label", "no audio in it"),
    ],
)
def test_one_clear_line(tmp_path, rows, columns, message):
    with pytest.raises(CommandError, match=message) as error:
        dataset.load(_csv(tmp_path, rows, columns))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("label", "message"),
    [("Hail", "not in the list of 10: Hail"), ("Rain", "train on: Baby_cry, Chainsaw, Clock_tick")],
)
def test_labels_of_a_layout_are_fixed(tmp_path, label, message):
    _csv(tmp_path / "audio", ["a.wav,1", "b.wav,1"])
    (tmp_path / "meta.csv").write_text(f"fname,fold,label\na.wav,1,Rain\nb.wav,1,{label}")
    with pytest.raises(CommandError, match=message):
        dataset.load(tmp_path)


def test_missing_files_are_counted_and_named(tmp_path):
    csv = _csv(tmp_path, [f"{i}.wav,x" for i in range(9)])
    for i in range(2, 7):
        (tmp_path / f"{i}.wav").unlink()
    with pytest.raises(CommandError, match=rf"missing: {tmp_path}/2.wav, /.*/4.wav and 2 more"):
        dataset.load(csv)


def test_paths_in_messages_are_whole(tmp_path):
    csv = _csv(tmp_path, ["a.wav,x"])
    with csv.open("a") as file:
        file.write("\n/nope/x.wav,y\n")
    with pytest.raises(CommandError, match=r"missing: /nope/x.wav$"):
        dataset.load(csv)


def test_uris_of_files_may_be_percent_encoded(tmp_path):
    names = ["b c.wav", "x%20y.wav", "100%.wav"]
    csv = _csv(tmp_path, [f"{name},x" for name in names])
    plain = dataset.load(csv).clips["uri"].tolist()
    as_uris = [(tmp_path / "b c.wav").as_uri(), f"file://{tmp_path}/x%20y.wav"]
    as_uris.append((tmp_path / "100%.wav").as_uri().replace("file://", "file://localhost"))
    csv.write_text("\n".join(["uri,label", *(f"{uri},x" for uri in as_uris)]))
    assert dataset.load(csv).clips["uri"].tolist() == plain


def test_an_unknown_layout(tmp_path):
    with pytest.raises(CommandError, match="no layout 'urbansound'"):
        dataset.load(tmp_path, layout="urbansound")


def test_the_labels_of_a_csv_are_those_that_occur_sorted(tmp_path):
    data = dataset.load(_csv(tmp_path, ["a.wav,y", "b.wav,Bark", "c.wav,y"]))
    assert data.labels.names == ("Bark", "y")
    assert [label.mid for label in data.labels] == ["/m/05tny_", None]
    assert data.truth().tolist() == [1, 0, 1]


def sets(data):
    """The label sets of clips by name."""
    return {
        name: {label for label, has in zip(data.labels.names, row, strict=True) if has}
        for name, row in zip(data.clips["name"], data.truth(), strict=True)
    }


def test_clips_with_several_labels(tmp_path):
    rows = ["a.wav,x;y", "b.wav,y", "c.wav,z ; x"]
    data = dataset.load(_csv(tmp_path, rows), labels="several", label_separator=";")
    assert data.labels.names == ("x", "y", "z")
    assert data.truth().dtype == bool
    assert sets(data) == {"a.wav": {"x", "y"}, "b.wav": {"y"}, "c.wav": {"x", "z"}}


def test_a_json_list_may_be_empty(tmp_path):
    rows = ['a.wav,"[""x"", ""y""]"', "b.wav,[]"]
    data = dataset.load(_csv(tmp_path, rows), labels="several", label_separator="json")
    assert sets(data) == {"a.wav": {"x", "y"}, "b.wav": set()}
    assert data.has_truth().all()


def test_single_labels_may_be_learnt_as_sets_in_any_layout(tmp_path):
    for name in ("x/a.wav", "y/b.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(bytes(60))
    data = dataset.load(tmp_path, labels="several")
    assert sets(data) == {"x/a.wav": {"x"}, "y/b.wav": {"y"}}


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        (["a.wav,x;y", "b.wav,"], {}, r"clips without a label \(in JSON .*\): /.*/b.wav"),
        (["a.wav,x;y", "a.wav,x"], {}, "more than once, with different labels .*: /.*/a.wav"),
        (["a.wav,x;y", "a.wav,y;x"], {}, "clips listed more than once: /.*/a.wav"),
        (["a.wav,x|y", "b.wav,x;z"], {}, r"all.csv: column label: 'x\|y' is more than one label"),
        (["a.wav,x;y"], {"label_separator": None}, "'x;y' is more than one label: tell what"),
        (["a.wav,x", "b.wav,y"], {}, "no text has the separator ';'; leave it out if each is one"),
        (["a.wav,x;y"], {"label_separator": ""}, "label_separator must not be empty"),
        (["a.wav,x;y"], {"labels": "one"}, "label_separator is for a CSV whose clips have several"),
        (["a.wav,x;y"], {"layout": "folders"}, "label_separator is for a CSV"),
        (["a.wav,[]"], {"label_separator": "json"}, "no clip has a label"),
    ],
)
def test_one_clear_line_about_several_labels(tmp_path, rows, given, message):
    told = {"labels": "several", "label_separator": ";"} | given
    with pytest.raises(CommandError, match=message) as error:
        dataset.load(_csv(tmp_path, rows), **told)
    assert "\n" not in str(error.value)


def test_a_label_that_no_training_clip_has(tmp_path):
    rows = ["a.wav,x;y,train", "b.wav,z;x,test"]
    csv = _csv(tmp_path, rows, "uri,label,split")
    with pytest.raises(CommandError, match="classes without clips to train on: z"):
        dataset.load(csv, labels="several", label_separator=";")


def test_stretches_of_a_recording_are_clips_of_their_own(tmp_path):
    rows = ["a.wav,x,0,2.5", "a.wav,y,2.5,", "b.wav,y,,"]
    clips = dataset.load(_csv(tmp_path, rows, "uri,label,start_s,end_s")).clips
    assert clips["name"].tolist() == ["a.wav#t=0,2.5", "a.wav#t=2.5", "b.wav"]
    assert clips["start_s"].fillna(-1).tolist() == [0, 2.5, -1]
    assert clips["end_s"].fillna(-1).tolist() == [2.5, -1, -1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,x,soon,2", "start_s is no number of seconds: /.*/a.wav"),
        ("a.wav,x,-1,2", "start_s is no number of seconds: /.*/a.wav"),
        ("a.wav,x,1,inf", "end_s is no number of seconds: /.*/a.wav"),
        ("a.wav,x,3,2", "end before they start: /.*/a.wav"),
        ("a.wav,x,,0", "end before they start: /.*/a.wav"),
    ],
)
def test_stretches_that_are_none(tmp_path, row, message):
    with pytest.raises(CommandError, match=message):
        dataset.load(_csv(tmp_path, [row], "uri,label,start_s,end_s"))


FINGERPRINT = "f14958547c975a81fb7be1cf4b960fd118f1e252f266d0549bd0bc38775cc481"


def test_corrections_are_not_of_stretches(tmp_path):
    csv = _csv(tmp_path, ["a.wav,x,0,1", "a.wav,y,1,2"], "uri,label,start_s,end_s")
    whole = _csv(tmp_path / "more", ["a.wav,x"])
    for data, more in ((csv, whole), (whole, csv)):
        with pytest.raises(CommandError, match="corrections are of whole recordings"):
            dataset.load(data, corrections=[more])


_ROWS = ("a.wav,x,1", "b.wav,y,2", "c.wav,x,")


def test_the_fingerprint_does_not_depend_on_the_place(tmp_path):
    one = dataset.load(_csv(tmp_path / "one", _ROWS, "uri,label,fold"))
    shutil.copytree(tmp_path / "one", tmp_path / "deep" / "two")
    two = dataset.load(tmp_path / "deep" / "two" / "all.csv")
    assert one.fingerprint() == two.fingerprint()
    assert len(one.fingerprint()) == 64


@pytest.mark.parametrize(
    "rows",
    [
        ("a.wav,y,1", "b.wav,y,2", "c.wav,x,"),
        ("a.wav,x,1", "b.wav,y,3", "c.wav,x,"),
        ("d.wav,x,1", "b.wav,y,2", "c.wav,x,"),
        ("b.wav,y,2", "a.wav,x,1", "c.wav,x,"),
    ],
)
def test_the_fingerprint_sees_names_labels_folds_and_order(tmp_path, rows):
    before = dataset.load(_csv(tmp_path / "before", _ROWS, "uri,label,fold"))
    after = dataset.load(_csv(tmp_path / "after", rows, "uri,label,fold"))
    assert before.fingerprint() != after.fingerprint()


def test_the_fingerprint_is_what_it_was(tmp_path):
    """Work folders of earlier versions hold it; made by the version before several labels."""
    data = dataset.load(_csv(tmp_path, _ROWS, "uri,label,fold"))
    assert data.fingerprint() == FINGERPRINT


def test_the_fingerprint_sees_label_sets_and_stretches(tmp_path):
    columns = "uri,label,start_s,end_s"
    found = set()
    for number, rows in enumerate((["a.wav,x,,"], ["a.wav,x,0,1"], ["a.wav,x,0,2"])):
        csv = _csv(tmp_path / str(number), rows, columns)
        for labels in ("one", "several"):
            found.add(dataset.load(csv, labels=labels).fingerprint())
    assert len(found) == 6


def test_the_fingerprint_sees_sizes(tmp_path):
    csv = _csv(tmp_path, _ROWS, "uri,label,fold")
    before = dataset.load(csv).fingerprint()
    (tmp_path / "a.wav").write_bytes(bytes(61))
    assert dataset.load(csv).fingerprint() != before


def test_names_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/caf\udce9.wav").write_bytes(b"x")
    with pytest.raises(CommandError, match=r"/caf\\udce9.wav': the name is not UTF-8; rename it"):
        dataset.load(tmp_path)
