"""What INPUT names, over real folders and a real S3 server."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.inputs.extras import KEPT
from pipelines.inputs.listing import gather, list_clips, without_duplicates
from pipelines.inputs.skipped import Skipped
from pipelines.storage.errors import AccessDenied
from pipelines.storage.filesystems import filesystem
from pipelines.storage.uris import clip_id, split_s3
from tagger.errors import CommandError
from tagger.schema import LISTING

ODD = ["a b.wav", "ü#%20?.ogg", "line\nbreak.mp3", "_a.wav", ".b.wav", "UPPER.WAV", "a+b&c=d.flac"]


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * len(name))
    return folder


def names(table: pa.Table, base: str | Path) -> set[str]:
    base = base if str(base).startswith("s3://") else f"file://{base}"
    assert all(uri.startswith(f"{base}/") for uri in table["uri"].to_pylist())
    return {uri.removeprefix(f"{base}/") for uri in table["uri"].to_pylist()}


def test_a_folder_gives_its_audio_and_counts_the_rest(tmp_path: Path) -> None:
    fill(tmp_path, *ODD, "deep/er/c.m4a", "notes.txt", "wav", "deep/list.csv")
    skipped = Skipped()
    table = gather([str(tmp_path)], skipped)
    assert names(table, tmp_path) == {*ODD, "deep/er/c.m4a"}
    assert skipped == {"suffix": 3}
    assert table.schema.equals(LISTING)
    for row in table.to_pylist():
        status = Path(row["uri"].removeprefix("file://")).stat()
        assert row["size_bytes"] == status.st_size
        assert row["version"] == f"{status.st_size}-{status.st_mtime_ns}"
        assert row["clip_id"] == clip_id(row["uri"], row["version"])
        assert row["extra"] is None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
def test_any_name_is_listed(tmp_path_factory: pytest.TempPathFactory, stems: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    wanted = set()
    for stem in stems:
        name = f"{stem}.wav".replace("/", "").replace("\0", "")
        if len(os.fsencode(name)) < 250:
            (folder / name).touch()
            wanted.add(name)
    assert names(gather([str(folder)]), folder) == wanted


def test_a_name_that_is_not_utf8_is_listed(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.wav"
    Path(os.fsdecode(path)).write_bytes(b"abc")
    (row,) = gather([str(tmp_path)]).to_pylist()
    assert row["uri"] == f"file+bytes://{tmp_path}/caf%E9.wav"
    assert gather([row["uri"]]).to_pylist() == [row]


def test_a_changed_file_is_another_clip(tmp_path: Path) -> None:
    clip = fill(tmp_path, "a.wav") / "a.wav"
    before = gather([str(tmp_path)])
    assert gather([str(tmp_path)]).equals(before)
    os.utime(clip, ns=(1, 1))
    assert gather([str(tmp_path)])["clip_id"] != before["clip_id"]


def test_the_working_directory_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "in/a.wav")
    tables = []
    for folder, text in [(tmp_path, "in"), (tmp_path / "in", "."), (tmp_path / "in", "a.wav")]:
        monkeypatch.chdir(folder)
        tables.append(gather([text]))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_what_is_named_by_itself_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    fill(tmp_path, "a.dat", "b[1].xyz")
    table = gather([f"{tmp_path}/a.dat", f"file://{tmp_path}/b[1].xyz"])
    assert names(table, tmp_path) == {"a.dat", "b[1].xyz"}


def test_the_same_clip_listed_twice_counts_once(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "b.wav")
    (tmp_path / "list.csv").write_text("uri,take\na.wav,7\n")
    skipped = Skipped()
    inputs = [str(tmp_path), f"{tmp_path}/a.wav", f"{tmp_path}/*.wav", f"{tmp_path}/list.csv"]
    rows = gather(inputs, skipped).to_pylist()
    assert {row["uri"][-5:]: row["extra"] for row in rows} == {
        "a.wav": '{"take": "7"}',
        "b.wav": None,
    }
    assert skipped == {"suffix": 1, "duplicate": 4}


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.wav", {"a.wav", "x.wav/in.ogg"}),
        ("*", {"a.wav", "1/b.wav", "1/2/c.wav", "2/d.ogg", "x.wav/in.ogg"}),
        ("**/*.wav", {"a.wav", "1/b.wav", "1/2/c.wav", "x.wav/in.ogg"}),
        ("[12]/?.*", {"1/b.wav", "2/d.ogg"}),
        ("1/**", {"1/b.wav", "1/2/c.wav"}),
        ("*/2", {"1/2/c.wav"}),
        ("1/**/c.*", {"1/2/c.wav"}),
        ("*.dat", {"e.dat"}),
        ("nothing*", set()),
    ],
)
def test_globs(tmp_path: Path, pattern: str, wanted: set[str]) -> None:
    fill(tmp_path, "a.wav", "1/b.wav", "1/2/c.wav", "2/d.ogg", "x.wav/in.ogg", "e.dat", "1/f.txt")
    assert names(gather([f"{tmp_path}/{pattern}"]), tmp_path) == wanted


def test_links(tmp_path: Path) -> None:
    archive = fill(tmp_path / "archive", "a.wav", "sub/b.wav")
    outside = fill(tmp_path / "outside", "secret.wav")
    (archive / "copy.wav").symlink_to("sub/b.wav")
    (archive / "out.wav").symlink_to(outside / "secret.wav")
    (archive / "gone.wav").symlink_to("nowhere.wav")
    (archive / "sub/loop").symlink_to(archive)
    (archive / "outside").symlink_to(outside)
    os.mkfifo(archive / "pipe.wav")
    skipped = Skipped()
    wanted = {"a.wav", "sub/b.wav", "copy.wav"}
    assert names(gather([str(archive)], skipped), archive) == wanted
    assert skipped == {"link": 3, "special": 1, "broken_link": 1}
    assert names(gather([f"{archive}/**/*.wav"]), archive) == wanted
    (tmp_path / "by-link").symlink_to(archive)
    assert names(gather([f"{tmp_path}/by-link"]), tmp_path / "by-link") == wanted
    assert names(gather([f"{archive}/out.wav"]), archive) == {"out.wav"}


def test_nothing_there_is_nothing_or_an_error(tmp_path: Path) -> None:
    assert len(gather([])) == 0
    assert gather([str(tmp_path)]).schema.equals(LISTING)
    os.mkfifo(tmp_path / "pipe")
    for text, mend in {
        "missing": "check the path",
        "missing/*.wav": "check the path",
        "pipe": "name one of these",
        "a**b/*.wav": "whole folder names",
        "nosuchscheme://a/b.wav": "spelt right",
        "s3://KEY:SECRET@bucket/a.wav": "environment",
    }.items():
        with pytest.raises(CommandError, match=mend) as caught:
            gather([text if "://" in text else f"{tmp_path}/{text}"])
        assert "\n" not in str(caught.value)
        assert "SECRET" not in str(caught.value)


def test_other_fsspec_schemes(tmp_path: Path) -> None:
    fs = filesystem("memory://")
    fs.pipe({"/listing/a b.wav": b"abc", "/listing/deep/ü.ogg": b"d", "/listing/x.txt": b""})
    skipped = Skipped()
    table = gather(["memory://listing", "memory://listing/a b.wav"], skipped)
    assert set(table["uri"].to_pylist()) == {
        "memory://listing/a b.wav",
        "memory://listing/deep/ü.ogg",
    }
    assert skipped == {"suffix": 1, "duplicate": 1}
    assert "" not in table["version"].to_pylist()
    assert len(gather(["memory://listing/*.wav"])) == 1
    with pytest.raises(CommandError, match="check the name"):
        gather(["memory://missing"])


def test_magic_letters_and_apple_double_in_other_stores() -> None:
    folder = "memory://magic"
    filesystem(folder).pipe({f"/magic/rec [2024]/{name}": b"abc" for name in ("a.wav", "._a.wav")})
    for text in ("rec [2024]", "rec [2024]/", "rec [2024]/*.wav"):
        skipped = Skipped()
        rows = gather([f"{folder}/{text}"], skipped)
        assert rows["uri"].to_pylist() == [f"{folder}/rec [2024]/a.wav"]
        assert skipped == {"sidecar": 1}


@pytest.mark.parametrize("text", ["", "file://"])
def test_an_empty_name_is_not_the_working_directory(text: str) -> None:
    with pytest.raises(CommandError, match="INPUT is empty; name a file"):
        gather([text])


def test_a_folder_of_an_http_server(folder_server: Any) -> None:
    fill(folder_server.folder, "in/a b.wav", "in/deep/c.ogg", "in/notes.txt")
    folder_server.faults = [503]
    rows = gather([f"{folder_server.url}/in/"]).to_pylist()
    found = {row["uri"].removeprefix(f"{folder_server.url}/in/"): row for row in rows}
    assert found.keys() == {"a%20b.wav", "deep/c.ogg"}
    assert [row["size_bytes"] for row in rows] == [len("in/a b.wav"), len("in/deep/c.ogg")]
    assert all(row["version"] for row in rows)
    assert gather([rows[0]["uri"]]).to_pylist() == rows[:1]
    os.utime(folder_server.folder / "in/a b.wav", (1, 1))
    assert gather([rows[0]["uri"]])["version"].to_pylist() != [rows[0]["version"]]
    assert folder_server.faults == []


def test_chunks_are_bounded_and_join_to_one_table() -> None:
    rows = [[f"{i}", f"s3://b/{i % 7}", "v", i, None, None] for i in range(20)]
    tables = [pa.table(list(zip(*rows[i : i + 5], strict=True)), schema=KEPT) for i in (0, 5)]
    skipped = Skipped()
    joined = without_duplicates(tables, skipped)
    assert joined["size_bytes"].to_pylist() == list(range(7))
    assert skipped == {"duplicate": 3}
    assert list(list_clips([], skipped)) == []


def test_a_name_with_magic_letters_that_exists_is_that_name(tmp_path: Path) -> None:
    fill(
        tmp_path, "rec [2024]/a.wav", "rec [2024]/x[1]/b.wav", "rec 2/c.wav", "w*/d.wav", "w/e.wav"
    )
    wanted = {
        "rec [2024]": {"rec [2024]/a.wav", "rec [2024]/x[1]/b.wav"},
        "rec [2024]/*.wav": {"rec [2024]/a.wav"},
        "rec [2024]/x[1]/?.wav": {"rec [2024]/x[1]/b.wav"},
        "rec [2024]/**/b*": {"rec [2024]/x[1]/b.wav"},
        "w*/*.wav": {"w*/d.wav"},
        "rec [2]/*.wav": {"rec 2/c.wav"},
    }
    for text, found in wanted.items():
        assert names(gather([f"{tmp_path}/{text}"]), tmp_path) == found, text


def test_file_uris_as_other_programs_write_them(tmp_path: Path) -> None:
    fill(tmp_path, "b c.wav", "ü/100%.wav", "x%20y.wav")
    texts = {
        (tmp_path / "b c.wav").as_uri(): "b c.wav",
        (tmp_path / "ü/100%.wav").as_uri(): "ü/100%.wav",
        (tmp_path / "ü").as_uri(): "ü/100%.wav",
        f"file://localhost{tmp_path}/b%20c.wav": "b c.wav",
        f"file:{tmp_path}/b%20c.wav": "b c.wav",
        f"file://{tmp_path}/ü/100%.wav": "ü/100%.wav",
        f"file://{tmp_path}/x%20y.wav": "x%20y.wav",
        f"file://{tmp_path}/b%20*.wav": "b c.wav",
        f"{tmp_path}/x%20y.wav": "x%20y.wav",
    }
    for text, name in texts.items():
        assert names(gather([text]), tmp_path) == {name}, text
    fill(tmp_path, "b%20c.wav")
    assert names(gather([f"{tmp_path}/b%20c.wav"]), tmp_path) == {"b%20c.wav"}
    with pytest.raises(CommandError, match="there are both: give the path without file://"):
        gather([(tmp_path / "b c.wav").as_uri()])


def put(prefix: str, *names: str) -> None:
    bucket, key = split_s3(prefix)
    fs = filesystem("s3://")
    for name in names:
        fs.call_s3("put_object", Bucket=bucket, Key=f"{key}/{name}", Body=b"x" * len(name))


@pytest.mark.s3
def test_an_s3_prefix(s3) -> None:
    prefix = s3.new_prefix()
    put(prefix, *ODD, "deep/er/c.m4a", "notes.txt", "folder/")
    put(f"{prefix}-beside", "no.wav")
    skipped = Skipped()
    table = gather([prefix], skipped)
    assert names(table, prefix) == {*ODD, "deep/er/c.m4a"}
    assert skipped == {"suffix": 1}
    assert table.equals(gather([f"{prefix}/"]))
    head = filesystem("s3://").call_s3(
        "head_object", Bucket=s3.bucket, Key=split_s3(f"{prefix}/a b.wav")[1]
    )
    (row,) = [row for row in table.to_pylist() if row["uri"] == f"{prefix}/a b.wav"]
    assert row["version"] == head["ETag"].strip('"')
    assert row["size_bytes"] == head["ContentLength"] == len("a b.wav")


@pytest.mark.s3
def test_s3_globs_and_single_objects(s3) -> None:
    prefix = s3.new_prefix()
    put(prefix, "1/a.wav", "1/a.wav.bak", "1/2/b.wav", "12/c.ogg", "what?.wav", "whats.wav")
    assert names(gather([f"{prefix}/1/a.wav"]), prefix) == {"1/a.wav"}
    assert names(gather([f"{prefix}/1/a.wav.bak"]), prefix) == {"1/a.wav.bak"}
    assert names(gather([f"{prefix}/what?.wav"]), prefix) == {"what?.wav"}
    assert names(gather([f"{prefix}/1*"]), prefix) == {"1/a.wav", "1/2/b.wav", "12/c.ogg"}
    assert names(gather([f"{prefix}/**/b.*"]), prefix) == {"1/2/b.wav"}


@pytest.mark.s3
def test_an_s3_prefix_with_magic_letters_that_exists(s3) -> None:
    prefix = s3.new_prefix()
    put(prefix, "rec [2024]/a.wav", "rec [2024]/x?/b.wav", "rec 2/c.wav", "a[1].wav", "a1.wav")
    wanted = {
        "rec [2024]": {"rec [2024]/a.wav", "rec [2024]/x?/b.wav"},
        "rec [2024]/": {"rec [2024]/a.wav", "rec [2024]/x?/b.wav"},
        "rec [2024]/x?": {"rec [2024]/x?/b.wav"},
        "rec [2024]/*.wav": {"rec [2024]/a.wav"},
        "rec [2]/*": {"rec 2/c.wav"},
        "re? 2/": {"rec 2/c.wav"},
        "a[1].wav": {"a[1].wav"},
        "a[1]*": {"a1.wav"},
    }
    for text, found in wanted.items():
        assert names(gather([f"{prefix}/{text}"]), prefix) == found, text


@pytest.mark.s3
def test_apple_double_files_on_s3(s3) -> None:
    prefix = s3.new_prefix()
    put(prefix, "a.wav", "._a.wav", "-b.wav", "._-b.wav", "__MACOSX/._c.wav", "__MACOSX/d.wav")
    put(prefix, "._alone.wav", ".AppleDouble/a.wav")
    skipped = Skipped()
    found = names(gather([prefix], skipped), prefix)
    assert found == {"a.wav", "-b.wav", "__MACOSX/d.wav", "._alone.wav"}
    assert skipped == {"sidecar": 4}
    assert names(gather([f"{prefix}/._a.wav"]), prefix) == {"._a.wav"}


@pytest.mark.s3
def test_an_s3_prefix_of_many_pages(s3) -> None:
    prefix = s3.new_prefix()
    filesystem("s3://").pipe({f"{prefix}/{i:04}.wav": b"x" for i in range(1200)})
    assert len(gather([prefix])) == 1200


@pytest.mark.s3
def test_what_is_wrong_with_an_s3_input(s3, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(gather([f"{s3.new_prefix()}/"])) == 0
    for text, mend in {
        "s3://no-such-bucket-here/a/": "does not exist; check",
        "s3://no-such-bucket-here/a.wav": "does not exist; check",
        "s3://": "write s3://bucket/prefix",
        f"{s3.new_prefix()}/a.wav": "no such object",
        f"{s3.new_prefix()}/list.csv": "no such object",
    }.items():
        with pytest.raises(CommandError, match=mend) as caught:
            gather([text])
        assert "\n" not in str(caught.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessDenied, match="AWS_SECRET_ACCESS_KEY"):
        gather([f"s3://{s3.bucket}/"])
