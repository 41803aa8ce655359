"""FSD50K and AudioSet as they lie on disk."""

import json

import pytest

from tagger import dataset
from tagger.errors import CommandError, OptionError
from tagger.labels import Label


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(60))


@pytest.fixture
def fsd50k(tmp_path):
    truth = tmp_path / "FSD50K.ground_truth"
    write(truth / "vocabulary.csv", "0,Bark,/m/05tny_\n1,Dog,/m/0bt9lr\n2,Rain,/m/06mb1\n")
    write(
        truth / "dev.csv",
        "fname,labels,mids,split\n"
        '64760,"Bark,Dog","/m/05tny_,/m/0bt9lr",train\n'
        "16399,Rain,/m/06mb1,train\n"
        '16401,"Dog,Rain","/m/0bt9lr,/m/06mb1",val\n',
    )
    write(truth / "eval.csv", 'fname,labels,mids\n37199,"Rain,Dog","/m/06mb1,/m/0bt9lr"\n')
    info = {"64760": {"license": "CC0", "uploader": "someone"}}
    write(tmp_path / "FSD50K.metadata/dev_clips_info_FSD50K.json", json.dumps(info))
    for name in ("64760", "16399", "16401"):
        audio(tmp_path / "FSD50K.dev_audio" / f"{name}.wav")
    audio(tmp_path / "FSD50K.eval_audio" / "37199.wav")
    return tmp_path


def test_fsd50k(fsd50k):
    data = dataset.load(fsd50k, labels="several")
    assert (data.layout, data.labelling) == ("fsd50k", "several")
    assert data.labels.labels[1] == Label("Dog", "/m/0bt9lr")
    assert data.clips["split"].tolist() == ["train", "train", "validation", "test"]
    assert data.truth().astype(int).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 1]]
    first = data.clips.iloc[0]
    assert (first["name"], first["license"], first["author"]) == ("64760.wav", "CC0", "someone")
    assert first["source"] == "https://freesound.org/s/64760/"
    assert data.test().tolist() == [3]


@pytest.mark.parametrize("folder", ["FSD50K.dev_audio", "FSD50K.eval_audio"])
def test_fsd50k_without_audio(fsd50k, folder):
    (fsd50k / folder).rename(fsd50k / "elsewhere")
    with pytest.raises(CommandError, match=f"FSD50K without its folder {folder}"):
        dataset.load(fsd50k, labels="several")


def test_fsd50k_with_a_label_beyond_its_vocabulary(fsd50k):
    with (fsd50k / "FSD50K.ground_truth/eval.csv").open("a") as file:
        file.write("9,Cat,/m/01yrx\n")
    audio(fsd50k / "FSD50K.eval_audio" / "9.wav")
    with pytest.raises(CommandError, match="labels that are not in the list of 3: Cat"):
        dataset.load(fsd50k, labels="several")


SEGMENTS = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=6, num_segs=6, num_unique_labels=3, num_positive_labels=7
# YTID, start_seconds, end_seconds, positive_labels
--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/m/06mb1"
-0RWZT-miFs, 420.000, 430.000, "/m/06mb1"
00M9FhCet6s, 0.000, 7.500, "/m/09x0r"
0B7Ubcnl5hM, 60.000, 70.000, "/m/0bt9lr,/m/06mb1"
0B7Ubcnl5hN, 12.500, 22.500, "/m/0bt9lr"
gone4ever__, 10.000, 20.000, "/m/0bt9lr"
"""
CLASSES = """index,mid,display_name
0,/m/09x0r,"Speech, human"
72,/m/0bt9lr,Dog
283,/m/06mb1,Rain
300,/m/07yv9,Vehicle
"""


@pytest.fixture
def audioset(tmp_path):
    write(tmp_path / "class_labels_indices.csv", CLASSES)
    write(tmp_path / "balanced_train_segments.csv", SEGMENTS)
    for name in (
        "--PJHxphWEs.wav",
        "clips/-0RWZT-miFs_420.000.flac",
        "clips/Y00M9FhCet6s.wav",
        "clips/0B7Ubcnl5hM_60000.wav",
        "0B7Ubcnl5hN_12.5_22.5.wav",
        "gone4ever___90.wav",
        "no segment.wav",
    ):
        audio(tmp_path / name)
    return tmp_path


def test_audioset(audioset):
    """Files of videos keep start and end; files of segments are clips; what is gone is told."""
    data = dataset.load(audioset, labels="several")
    assert data.layout == "audioset"
    assert [label.mid for label in data.labels] == ["/m/09x0r", "/m/0bt9lr", "/m/06mb1"]
    assert data.labels.names[0] == "Speech, human"
    assert data.truth().astype(int).tolist() == [
        [1, 0, 1],
        [0, 0, 1],
        [1, 0, 0],
        [0, 1, 1],
        [0, 1, 0],
    ]
    assert data.clips["name"].iloc[0] == "--PJHxphWEs_30.000"
    times = data.clips[["start_s", "end_s"]].astype(object).where(lambda t: t.notna(), None)
    assert times.to_numpy().tolist() == [[30, 40], [None] * 2, [0, 7.5], [None] * 2, [None] * 2]
    assert set(data.clips["split"]) == {"train"}
    (line,) = data.notes
    assert line.endswith(": 1 of 6 segments left out, whose audio is not there")


def test_one_list_of_audioset_s_segments(audioset):
    one = dataset.load(audioset / "balanced_train_segments.csv", labels="several")
    assert (one.layout, len(one.clips)) == ("audioset", 5)


def test_the_evaluation_segments_of_a_folder_test(audioset):
    (audioset / "eval_segments.csv").write_text('00M9FhCet6s, 20.0, 30.0, "/m/06mb1"\n')
    data = dataset.load(audioset, labels="several")
    assert data.clips["split"].tolist() == ["train"] * 5 + ["test"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('00M9FhCet6s, 20.0, 30.0, "/m/xyz"', "'/m/xyz' is not in class_labels_indices.csv"),
        ("00M9FhCet6s, 20.0, /m/06mb1", "a row of 3 values, not 4"),
        ("00M9FhCet6s, soon, 30.0, /m/06mb1", "'soon' is no number of seconds"),
        ('00M9FhCet6s, 30.0, 20.0, "/m/06mb1"', "clips that end before they start"),
        ('00M9FhCet6s, 0.000, 7.500, "/m/06mb1"', "more than once, with different labels"),
    ],
)
def test_what_is_refused_of_audioset(audioset, line, message):
    with (audioset / "balanced_train_segments.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(CommandError, match=message) as error:
        dataset.load(audioset, labels="several")
    assert "\n" not in str(error.value)


def test_audioset_without_its_classes(audioset):
    (audioset / "class_labels_indices.csv").unlink()
    with pytest.raises(CommandError, match=r"AudioSet without class_labels_indices\.csv"):
        dataset.load(audioset / "balanced_train_segments.csv", labels="several")


def test_these_layouts_have_several_labels_a_clip(fsd50k):
    with pytest.raises(OptionError, match="labels must be several"):
        dataset.load(fsd50k)
