"""``fetch`` of a small FSDKaggle2018 from a real server and from local archives."""

import hashlib
import io
import json
import zipfile

import pytest

from pipelines.assets import fetch
from pipelines.assets.fetch import ARCHIVES, FetchJob
from pipelines.storage.errors import StoreUnavailable
from tagger import dataset
from tagger.errors import CommandError
from tagger.labels import FSDKAGGLE2018

TRAIN = [(f"{i:08x}.wav", name) for i, name in enumerate(FSDKAGGLE2018.names)]
TEST = [("f0000000.wav", "Bark", "Public"), ("f0000001.wav", "Oboe", "Private")]
TRAIN_CSV = "fname,label,manually_verified,freesound_id,license\n" + "".join(
    f"{name},{label},1,7,CC0\n" for name, label in TRAIN
)
TEST_CSV = "fname,label,usage,freesound_id,license\n" + "".join(
    f"{name},{label},{usage},8,CC0\n" for name, label, usage in TEST
)


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archives():
    """Zenodo's archives by name."""
    wav = bytes(200)
    prefix = "FSDKaggle2018."
    parts = {
        "meta": {
            "train_post_competition.csv": TRAIN_CSV,
            "test_post_competition_scoring_clips.csv": TEST_CSV,
        },
        "doc": {"README.md": "read me"},
        "audio_test": {name: wav for name, *_ in TEST},
        "audio_train": {name: wav for name, _ in TRAIN},
    }
    return {
        f"{prefix}{part}.zip": zipped({f"{prefix}{part}/{k}": v for k, v in files.items()})
        for part, files in parts.items()
    }


@pytest.fixture
def zenodo(file_server, archives):
    """A server with the record and its files; ``record()`` writes the record anew."""

    def record(**changes):
        files = [
            {
                "id": "x",
                "key": name,
                "size": len(data),
                "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
                "links": {"self": f"{file_server.url}/files/{name}/content"},
            }
            for name, data in archives.items()
        ]
        content = {"id": 2552860, "files": files} | changes
        file_server.files["/api/records/2552860"] = json.dumps(content).encode()

    file_server.record = record
    record()
    for name, data in archives.items():
        file_server.files[f"/files/{name}/content"] = data
    return file_server


@pytest.fixture
def out(tmp_path):
    return tmp_path / "data" / "fsd"


@pytest.fixture
def job(zenodo, out):
    return FetchJob(out=str(out), record=f"{zenodo.url}/api/records/2552860", store_patience_s=1)


def path_of(name):
    return f"/files/{name}/content"


def md5(data):
    return f"md5:{hashlib.md5(data).hexdigest()}"


def assert_is_the_data_set(folder):
    loaded = dataset.load(folder)
    assert loaded.layout == "fsdkaggle2018"
    assert len(loaded.development()) == len(TRAIN)
    assert sorted(loaded.clips["usage"].iloc[loaded.test()]) == ["Private", "Public"]
    assert set(loaded.clips["size_bytes"]) == {200}


def test_from_the_record(job, zenodo, archives, out):
    zenodo.faults[path_of(ARCHIVES[3])] = ["503", "cut:300", "cut:10"]
    zenodo.faults["/api/records/2552860"] = ["cut:20"]
    record = fetch.run(job)
    assert_is_the_data_set(out)
    assert record.unpacked == {name: md5(archives[name]) for name in ARCHIVES}
    assert (record.n_clips, record.n_development, record.n_test) == (43, 41, 2)
    assert record.compared
    assert "43 clips, 41 to train on and 2 to score" in record.text
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [fetch.FETCHED_FILE, *(name.removesuffix(".zip") for name in ARCHIVES)]
    )


def test_again_asks_no_server(job, zenodo):
    first = fetch.run(job)
    zenodo.requests.clear()
    second = fetch.run(job)
    assert not zenodo.requests
    assert second.kept == first.unpacked
    assert not second.unpacked
    assert second.n_clips == 43


def test_only_what_is_missing_is_fetched_again(job, zenodo, out):
    fetch.run(job)
    zenodo.requests.clear()
    (out / "FSDKaggle2018.audio_test" / "f0000000.wav").write_bytes(b"cut")
    assert list(fetch.run(job).unpacked) == ["FSDKaggle2018.audio_test.zip"]
    assert_is_the_data_set(out)
    assert [path for path, _ in zenodo.requests] == [
        "/api/records/2552860",
        path_of("FSDKaggle2018.audio_test.zip"),
    ]


def test_a_server_that_breaks_off_for_good_leaves_what_is_done(job, zenodo, out):
    last = path_of(ARCHIVES[3])
    zenodo.faults[last] = ["cut:300", "*cut:0"]
    with pytest.raises(StoreUnavailable, match="broke off"):
        fetch.run(job)
    zenodo.faults[last].clear()
    zenodo.requests.clear()
    record = fetch.run(job)
    assert set(record.kept) == set(ARCHIVES[:3])
    assert zenodo.requests[1:] == [(last, "bytes=300-")]
    assert_is_the_data_set(out)


def test_a_truncated_archive_at_the_server(job, zenodo, archives, out):
    name = ARCHIVES[2]
    zenodo.files[path_of(name)] = archives[name][:-5]
    with pytest.raises(CommandError, match=r"its md5 is \w+, not .*another file than expected"):
        fetch.run(job)
    assert not (out / "FSDKaggle2018.audio_test").exists()


def test_a_new_version_of_the_record(job, zenodo, archives, out):
    fetch.run(job)
    name = ARCHIVES[1]
    data = zipped({"FSDKaggle2018.doc/README.md": "another"})
    zenodo.files[path_of(name)] = data
    content = json.loads(zenodo.files["/api/records/2552860"])
    for file in content["files"]:
        if file["key"] == name:
            file["checksum"] = md5(data)
    zenodo.files["/api/records/2552860"] = json.dumps(content).encode()
    (out / "FSDKaggle2018.audio_test" / "f0000000.wav").unlink()  # so that the record is asked
    assert set(fetch.run(job).unpacked) == {name, "FSDKaggle2018.audio_test.zip"}
    assert (out / "FSDKaggle2018.doc" / "README.md").read_text() == "another"


@pytest.mark.parametrize("member", ["../outside.wav", "/tmp/outside.wav"])
def test_a_hostile_archive(job, zenodo, archives, out, member):
    archives = archives | {ARCHIVES[0]: zipped({"FSDKaggle2018.meta/x": "1", member: "2"})}
    zenodo.files[path_of(ARCHIVES[0])] = archives[ARCHIVES[0]]
    content = json.loads(zenodo.files["/api/records/2552860"])
    content["files"][0]["checksum"] = md5(archives[ARCHIVES[0]])
    zenodo.files["/api/records/2552860"] = json.dumps(content).encode()
    with pytest.raises(CommandError, match="is no path inside a folder"):
        fetch.run(job)
    assert not (out.parent / "outside.wav").exists()
    assert not (out / "FSDKaggle2018.meta").exists()


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"<html>", "is no record of Zenodo's"),
        (b"[]", "is no record of Zenodo's"),
        (b'{"files": [{"key": 1}]}', "has no FSDKaggle2018.meta.zip"),
        (b'{"files": [{"key": "FSDKaggle2018.meta.zip"}]}', "is no record of Zenodo's"),
        (b'{"files": []}', "has no FSDKaggle2018.meta.zip, FSDKaggle2018.doc.zip"),
    ],
)
def test_answers_that_are_no_record(job, zenodo, answer, complaint):
    zenodo.files["/api/records/2552860"] = answer
    with pytest.raises(CommandError, match=complaint) as caught:
        fetch.run(job)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"checksum": "crc:12"}, "is no checksum"),
        ({"links": {"self": "file:///etc/passwd"}}, "is no https:// URL"),
        ({"links": {"self": "http://example.org/x"}}, "is no https:// URL"),
    ],
)
def test_files_of_a_record_that_are_not_taken(job, zenodo, change, complaint):
    content = json.loads(zenodo.files["/api/records/2552860"])
    content["files"][2] |= change
    zenodo.files["/api/records/2552860"] = json.dumps(content).encode()
    with pytest.raises(CommandError, match=complaint):
        fetch.run(job)


def test_a_record_that_is_not_there(job, zenodo):
    del zenodo.files["/api/records/2552860"]
    with pytest.raises(CommandError, match="answered 404 Not Found"):
        fetch.run(job)


@pytest.fixture
def local(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "something-else.zip").write_bytes(b"no zip")
    return folder


def test_from_local_archives_of_zenodo(local, archives, out):
    for name, data in archives.items():
        (local / name).write_bytes(data)
    job = FetchJob(out=str(out), archives=str(local))
    record = fetch.run(job)
    assert_is_the_data_set(out)
    assert record.unpacked == {name: md5(data) for name, data in archives.items()}
    assert "md5 not compared with the record's" in record.text
    assert fetch.run(job).kept == record.unpacked
    assert len(list(local.iterdir())) == 5


KAGGLE_TABLES = {"train.csv": TRAIN_CSV, "test_post_competition.csv": TEST_CSV}
KAGGLE_AUDIO = {
    "audio_train": {name: bytes(200) for name, _ in TRAIN},
    "audio_test": {name: bytes(200) for name, *_ in TEST},
}


def test_from_kaggle_all_in_one(local, out):
    files = KAGGLE_TABLES | {f"{f}/{k}": v for f, c in KAGGLE_AUDIO.items() for k, v in c.items()}
    (local / "freesound-audio-tagging.zip").write_bytes(zipped(files))
    fetch.run(FetchJob(out=str(out), archives=str(local)))
    assert_is_the_data_set(out)


@pytest.mark.parametrize("with_folder", [True, False])
def test_from_kaggle_in_parts(local, out, with_folder):
    for folder, clips in KAGGLE_AUDIO.items():
        prefix = f"{folder}/" if with_folder else ""
        data = zipped({f"{prefix}{name}": wav for name, wav in clips.items()})
        (local / f"{folder}.zip").write_bytes(data)
    (local / "train.csv").write_text(TRAIN_CSV)
    (local / "test_post_competition.csv.zip").write_bytes(
        zipped({"test_post_competition.csv": TEST_CSV})
    )
    fetch.run(FetchJob(out=str(out), archives=str(local)))
    assert_is_the_data_set(out)


def test_a_part_that_is_missing_is_named(local, archives, out):
    for name in ARCHIVES[:3]:
        (local / name).write_bytes(archives[name])
    with pytest.raises(CommandError, match="without its folder audio_train"):
        fetch.run(FetchJob(out=str(out), archives=str(local)))


@pytest.mark.parametrize("folder", ["downloads", "nowhere"])
def test_a_folder_without_archives(local, out, tmp_path, folder):
    with pytest.raises(CommandError, match=r"none of FSDKaggle2018.meta.zip, .* is in it"):
        fetch.run(FetchJob(out=str(out), archives=str(tmp_path / folder)))
    assert not out.exists()


@pytest.mark.parametrize(
    "changes", [{"out": "s3://bucket/x"}, {"record": "http://example.org/record"}]
)
def test_commands_that_cannot_be_carried_out(changes):
    with pytest.raises(CommandError):
        FetchJob(**{"out": "x"} | changes)


def test_the_defaults_are_zenodo():
    assert FetchJob(out="x").record == "https://zenodo.org/api/records/2552860"
