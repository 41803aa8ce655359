"""Reading data sets as they lie on disk, in every layout."""

import pytest

from tagger import dataset, layouts
from tagger.errors import CommandError
from tagger.labels import ESC_10, ESC_10_OF_ESC_50, ESC_50, FSDKAGGLE2018


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _audio(path, size=60):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def _fsdkaggle2018(root, layout, freesound_id="freesound_id"):
    """Two training clips per class, an empty one; a public, a private and an ignored test clip."""
    zenodo = layout == "zenodo"
    prefix = "FSDKaggle2018." if zenodo else ""
    rows = [(f"{i:08x}.wav", FSDKAGGLE2018.names[i % 41]) for i in range(83)]
    for name, _ in rows:
        _audio(root / f"{prefix}audio_train" / name, 44 if name == "00000052.wav" else 60)
    lines = [f"{name},{label},{i % 2},{i},CC0" for i, (name, label) in enumerate(rows)]
    header = f"fname,label,manually_verified,{freesound_id},license\n"
    train = "FSDKaggle2018.meta/train_post_competition.csv" if zenodo else "train.csv"
    _write(root / train, header + "\n".join(lines))

    tests = ["f0.wav,Bark,Public,7,CC-BY", "f1.wav,Oboe,Private,8,CC0"]
    if not zenodo:
        tests.append("f2.wav,None,Ignored,9,CC0")
    for line in tests:
        _audio(root / f"{prefix}audio_test" / line.split(",")[0])
    scoring = "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv"
    header = f"fname,label,usage,{freesound_id},license\n"
    test = scoring if zenodo else "test_post_competition.csv"
    _write(root / test, header + "\n".join(tests))


@pytest.mark.parametrize("layout", ["zenodo", "kaggle"])
@pytest.mark.parametrize("freesound_id", ["freesound_id", "fsID"])
def test_fsdkaggle2018(tmp_path, layout, freesound_id):
    _fsdkaggle2018(tmp_path, layout, freesound_id)
    data = dataset.load(tmp_path)
    assert data.layout == "fsdkaggle2018"
    assert data.labels == FSDKAGGLE2018
    clips = data.clips.set_index("name")
    assert clips["label"]["00000003.wav"] == "Bass_drum"
    assert clips["manually_verified"]["00000003.wav"]
    assert not clips["manually_verified"]["00000002.wav"]
    assert clips["source"]["00000003.wav"] == "https://freesound.org/s/3/"
    assert clips["license"]["00000003.wav"] == "CC0"
    assert clips["size_bytes"]["00000052.wav"] == 44  # empty files are for `prepare` to report
    assert data.truth()[:3].tolist() == [0, 1, 2]
    assert len(data.development()) == 83
    assert data.clips["name"].iloc[data.test()].tolist() == ["f0.wav", "f1.wav"]
    assert data.clips["usage"].iloc[data.test()].tolist() == ["Public", "Private"]


def test_both_layouts_are_the_same_data(tmp_path):
    for layout in ("zenodo", "kaggle"):
        _fsdkaggle2018(tmp_path / layout, layout)
    zenodo, kaggle = (dataset.load(tmp_path / layout) for layout in ("zenodo", "kaggle"))
    assert zenodo.fingerprint() != kaggle.fingerprint()  # the ignored clip
    columns = ["name", "label", "split", "usage", "manually_verified", "size_bytes"]
    assert kaggle.clips[columns].head(len(zenodo.clips)).equals(zenodo.clips[columns])


def test_ignored_test_clips_have_no_label_and_need_no_file(tmp_path):
    _fsdkaggle2018(tmp_path, "kaggle")
    (tmp_path / "audio_test" / "f2.wav").unlink()
    data = dataset.load(tmp_path)
    ignored = data.clips.set_index("name").loc["f2.wav"]
    assert ignored.isna()[["label", "size_bytes"]].all()
    assert data.truth()[-1] == -1


def test_kaggle_without_the_labels_of_its_test(tmp_path):
    _fsdkaggle2018(tmp_path, "kaggle")
    (tmp_path / "test_post_competition.csv").unlink()
    assert not len(dataset.load(tmp_path).test())


def test_metadata_without_its_audio_folder(tmp_path):
    _fsdkaggle2018(tmp_path, "kaggle")
    (tmp_path / "audio_train").rename(tmp_path / "elsewhere")
    with pytest.raises(CommandError, match="without its folder audio_train"):
        dataset.load(tmp_path)


def _esc_10(root):
    lines = [
        f"{fold}-{i}-A.ogg,{fold},{label},CC-BY,http://example.org/{i},ann"
        for fold in (1, 2)
        for i, label in enumerate(ESC_10.names)
    ]
    _write(root / "meta.csv", "fname,fold,label,license,source,author\n" + "\n".join(lines))
    for line in lines:
        _audio(root / "audio" / line.split(",")[0])


def test_esc_10(tmp_path):
    _esc_10(tmp_path)
    data = dataset.load(tmp_path)
    assert data.layout == "esc10"
    assert data.labels == ESC_10
    assert data.clips["fold"].tolist() == [1] * 10 + [2] * 10
    row = data.clips.iloc[0]
    assert row["uri"] == f"file://{tmp_path}/audio/1-0-A.ogg"
    assert (row["license"], row["source"], row["author"]) == (
        "CC-BY",
        "http://example.org/0",
        "ann",
    )


def _esc_50(root):
    lines = [
        f"1-{100 + i}-A-{i}.wav,1,{i},{name},{name in ESC_10_OF_ESC_50},{100 + i},A"
        for i, name in enumerate(ESC_50.names)
    ]
    header = "filename,fold,target,category,esc10,src_file,take\n"
    _write(root / "meta" / "esc50.csv", header + "\n".join(lines))
    for line in lines:
        _audio(root / "audio" / line.split(",")[0])


def test_esc_50(tmp_path):
    _esc_50(tmp_path)
    data = dataset.load(tmp_path)
    assert data.layout == "esc50"
    assert data.truth().tolist() == list(range(50))
    assert data.clips["source"][0] == "https://freesound.org/s/100/"


def test_esc_10_out_of_esc_50(tmp_path):
    _esc_50(tmp_path)
    data = dataset.load(tmp_path, layout="esc10")
    assert data.labels == ESC_10
    assert set(data.clips["label"]) == set(ESC_10.names)
    assert len(data.clips) == 10


def test_a_folder_per_class(tmp_path):
    for name in ("dog/b.wav", "dog/deep/a.FLAC", "cat/ü 1#.mp3", "cat/notes.txt", ".git/x.wav"):
        _audio(tmp_path / name)
    data = dataset.load(tmp_path)
    assert data.layout == "folders"
    assert data.labels.names == ("cat", "dog")
    assert data.clips["name"].tolist() == ["cat/ü 1#.mp3", "dog/b.wav", "dog/deep/a.FLAC"]
    assert data.clips["uri"][0] == f"file://{tmp_path}/cat/ü 1#.mp3"


def test_a_csv_of_uri_and_label(tmp_path):
    _audio(tmp_path / "sounds" / "a.wav")
    _audio(tmp_path / "other" / "b.wav")
    csv = tmp_path / "lists" / "all.csv"
    text = f"uri,label,fold,split\n../sounds/a.wav,x,1,train\n{tmp_path}/other/b.wav,y,,test\n"
    _write(csv, text + f"{tmp_path}/other/../other/c.wav,y,2.0,validation\n")
    _audio(tmp_path / "other" / "c.wav")
    data = dataset.load(csv)
    assert data.layout == "csv"
    assert data.clips["name"].tolist() == ["sounds/a.wav", "other/b.wav", "other/c.wav"]
    assert data.clips["split"].tolist() == ["train", "test", "validation"]
    assert data.clips["fold"].fillna(0).tolist() == [1, 0, 2]


def test_a_csv_of_remote_clips(tmp_path):
    csv = tmp_path / "all.csv"
    _write(csv, "uri,label\ns3://bucket/in/a.wav,x\ns3://bucket/in/b/c.wav,y\n")
    data = dataset.load(csv)
    assert data.clips["name"].tolist() == ["a.wav", "b/c.wav"]
    assert data.clips["size_bytes"].isna().all()


def test_detection(tmp_path):
    with pytest.raises(CommandError, match="no such data set"):
        layouts.detect(tmp_path / "nothing")
    with pytest.raises(CommandError, match="no audio"):
        layouts.detect(tmp_path)
    (tmp_path / "class").mkdir()
    with pytest.raises(CommandError, match="no audio"):
        layouts.detect(tmp_path)


def test_a_class_folder_without_audio(tmp_path):
    _audio(tmp_path / "dog" / "a.wav")
    _audio(tmp_path / "cat" / "a.txt")
    with pytest.raises(CommandError, match="classes without clips: cat"):
        dataset.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'uri,label\n"a', "cannot be read"),
        (b"uri,labels\na.wav,x\n", "no column label; it has uri, labels"),
    ],
)
def test_a_broken_csv(tmp_path, content, message):
    csv = tmp_path / "all.csv"
    csv.write_bytes(content)
    with pytest.raises(CommandError, match=message) as error:
        dataset.load(csv)
    assert "\n" not in str(error.value)
