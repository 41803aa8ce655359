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
