"""Folders as they really are: bad entries are passed over, counted and named."""

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.inputs.listing import gather
from pipelines.inputs.skipped import KINDS, Skipped, in_words
from pipelines.storage.errors import AccessDenied

MAGIC = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


def listed(folder: Path, follow_links: bool = False) -> tuple[set[str], dict[str, int]]:
    """Names of the clips below a folder, and what was passed over."""
    skipped = Skipped()
    uris = gather([str(folder)], skipped, follow_links)["uri"].to_pylist()
    return {uri.removeprefix(f"file://{folder}/") for uri in uris}, dict(skipped)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    (folder / "sub").mkdir(parents=True)
    (folder / "ok.wav").write_bytes(b"ok")
    (folder / "sub/b.wav").write_bytes(b"b")
    return folder


GOOD = {"ok.wav", "sub/b.wav"}


def let_others_in(folder: Path) -> None:
    """Folders of pytest are its user's alone."""
    for above in folder.parents:
        if above.owner() == Path.home().owner() and str(above).startswith("/tmp/"):
            above.chmod(0o755)


@pytest.mark.parametrize(
    "target",
    [
        "x.wav",
        "nowhere.wav",
        "ok.wav/below.wav",
        "n" * 300,
        "n/" * 2040,
        "../" * 700,
        "sub/back.wav",
    ],
)
def test_links_that_lead_to_nothing(archive: Path, target: str) -> None:
    (archive / "sub/back.wav").symlink_to("../x.wav")
    (archive / "x.wav").symlink_to(target)
    found, skipped = listed(archive)
    assert found == GOOD
    assert sum(skipped.values()) == 2
    assert skipped.keys() <= {"broken_link", "link"}


def test_each_is_named_to_those_who_want_to_know(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pipelines")
    (archive / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(archive / "pipe.wav")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(archive / "s.wav"))
    server.close()
    (archive / "._ok.wav").write_bytes(b"")
    _, skipped = listed(archive)
    assert skipped == {"broken_link": 1, "special": 2, "sidecar": 1}
    for name in ("loop.wav", "pipe.wav", "s.wav", "._ok.wav"):
        assert f"passed over '{archive}/{name}'" in caplog.text
    assert "passed over: 1 AppleDouble, 1 broken links, 2 pipes, sockets or devices" in caplog.text


def test_a_tree_that_is_deeper_than_any_path(archive: Path) -> None:
    fd = os.open(archive, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 230, dir_fd=fd)
        below = os.open("d" * 230, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        os.close(os.open("deep.wav", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
    os.close(fd)
    found, skipped = listed(archive)
    n_reachable = len(found - GOOD)
    assert found >= GOOD
    assert 10 < n_reachable < 20
    assert skipped == {"too_long": 1}
    assert max(map(len, found)) < 4096
    skipped = Skipped()
    assert len(gather([f"{archive}/**/*.wav"], skipped)) == n_reachable + 2
    assert skipped == {"too_long": 1}


@pytest.mark.parametrize(("mode", "n_skipped"), [(0o000, 2), (0o444, 3)])
def test_a_folder_below_that_may_not_be_read(
    archive: Path,
    drop_root: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    mode: int,
    n_skipped: int,
) -> None:
    closed = archive / "lost+found"
    closed.mkdir()
    for name in "ab":
        (closed / f"{name}.wav").write_bytes(b"x")
    (archive / "into.wav").symlink_to(closed / "a.wav")
    let_others_in(archive)
    closed.chmod(mode)
    drop_root()
    assert listed(archive) == (GOOD, {"unreadable": n_skipped})
    assert f"{closed}" in caplog.text
    assert "may not be read" in caplog.text
    with pytest.raises(AccessDenied, match="may not be"):
        listed(closed / "a.wav")


def test_the_folder_that_was_named_may_not_be_read(
    archive: Path, drop_root: Callable[[], None]
) -> None:
    let_others_in(archive)
    assert len(gather([f"{archive}/*.wav"])) == 1
    archive.chmod(0o311)
    drop_root()
    for text in (str(archive), f"{archive}/*.wav"):
        with pytest.raises(AccessDenied, match=f"'{archive}' may not be listed"):
            gather([text])


def test_folders_that_vanish_meanwhile(archive: Path) -> None:
    """The folder and a file of it are removed after their names were read."""
    for name in "xyz":
        (archive / name).mkdir()
        (archive / name / "c.wav").write_bytes(b"c")
    skipped = Skipped()

    class Removing(Skipped):
        def note(self, kind: str, name: str) -> None:
            if kind == "special":  # of the pipe, which is met when all names were read
                (archive / "x/c.wav").unlink()
                (archive / "x").rmdir()
                (archive / "y/c.wav").unlink()
                (archive / "y").rmdir()
                (archive / "y").write_bytes(b"")
            super().note(kind, name)

    os.mkfifo(archive / "pipe.wav")
    skipped = Removing()
    assert len(gather([str(archive)], skipped)) == 3
    assert skipped == {"special": 1, "vanished": 2}


def test_what_macos_leaves_is_passed_over_and_nothing_else(archive: Path) -> None:
    (archive / "._ok.wav").write_bytes(b"anything")  # beside its file
    (archive / "._gone.wav").write_bytes(MAGIC + bytes(4000))  # by its magic
    (archive / "._song.wav").write_bytes(b"RIFF....")  # a recording
    (archive / "__MACOSX/sub").mkdir(parents=True)
    (archive / "__MACOSX/sub/._b.wav").write_bytes(b"")
    (archive / "__MACOSX/kept.wav").write_bytes(b"x")
    (archive / "sub/.AppleDouble").mkdir()
    (archive / "sub/.AppleDouble/b.wav").write_bytes(b"")
    (archive / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    found, skipped = listed(archive)
    assert found == GOOD | {"._song.wav", "__MACOSX/kept.wav"}
    assert skipped == {"sidecar": 4, "suffix": 1}
    assert len(gather([f"{archive}/*.wav"])) == 2
    assert len(gather([f"{archive}/._ok.wav"])) == 1  # named by itself


def test_links_are_followed_on_demand_and_loops_end(archive: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / "deep").mkdir(parents=True)
    (store / "md5").write_bytes(b"1")
    (store / "deep/c.wav").write_bytes(b"2")
    (store / "back").symlink_to(archive)
    (archive / "clip.wav").symlink_to(store / "md5")
    (archive / "again.wav").symlink_to(store / "md5")
    (archive / "a-link").symlink_to("sub")  # sorts before the folder itself
    (archive / "linked").symlink_to(store)
    (archive / "linked-2").symlink_to(store)
    (archive / "sub/up").symlink_to("..")
    (archive / "self").symlink_to(".")
    (archive / "gone").symlink_to(store / "gone")
    assert listed(archive) == (GOOD, {"link": 7, "broken_link": 1})
    found, skipped = listed(archive, follow_links=True)
    assert found == GOOD | {"clip.wav", "again.wav", "linked/deep/c.wav"}
    assert skipped == {"link": 5, "broken_link": 1, "suffix": 1}
    (row,) = gather([f"{archive}/*/deep/*.wav"], follow_links=True).to_pylist()
    assert row["uri"] == f"file://{archive}/linked/deep/c.wav"
    assert len(gather([f"{archive}/*/deep/*.wav"])) == 0


def test_a_repository_of_git_annex(archive: Path) -> None:
    annexed = archive / ".git/annex/objects/0f/Xk/SHA256E-s1--ab.wav"
    annexed.mkdir(parents=True)
    (annexed / annexed.name).write_bytes(b"1")
    (archive / "sub/clip.wav").symlink_to(
        f"../.git/annex/objects/0f/Xk/{annexed.name}/{annexed.name}"
    )
    (archive / "sub/dropped.wav").symlink_to("../.git/annex/objects/1/2/x.wav/x.wav")
    for follow_links in (False, True):
        found, skipped = listed(archive, follow_links)
        assert found == GOOD | {"sub/clip.wav"}
        assert skipped == {"git": 1, "broken_link": 1}
    assert listed(archive / "sub")[0] == {"b.wav"}
    assert listed(archive / "sub", follow_links=True)[0] == {"b.wav", "clip.wav"}


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},  # ASCII
    ],
)
def test_the_same_bytes_have_the_same_uri_in_every_locale(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    names = [b"\xc3\xbc.wav", b"u\xcc\x88.wav", b"caf\xe9.wav", "日本.wav".encode(), b"100%.wav"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    (tmp_path / "list.txt").write_bytes(
        b"\n".join(names) + b"\nfile://" + bytes(tmp_path) + b"/%C3%BC.wav\n"
    )
    (tmp_path / "list.csv").write_bytes(b"uri\n" + names[0] + b"\n" + names[3] + b"\n")
    program = (
        "import sys, json; from pipelines.inputs.listing import gather\n"
        "from pipelines.inputs.reading import open_clip\n"
        "tables = [gather([text]) for text in sys.argv[1:]]\n"
        "for row in tables[0].select(['uri', 'version', 'size_bytes']).to_pylist():\n"
        "    with open_clip(**row) as data: assert data == b'x'\n"
        "print(json.dumps([sorted(table['uri'].to_pylist()) for table in tables]))"
    )
    inputs = [str(tmp_path), f"{tmp_path}/list.txt", f"{tmp_path}/list.csv"]
    done = subprocess.run(
        [sys.executable, "-c", program, *inputs],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd()), **environment},
        capture_output=True,
        check=True,
    )
    folder = f"file://{tmp_path}"
    every = [f"{folder}/{name}" for name in ("ü.wav", "u\u0308.wav", "日本.wav", "100%.wav")]
    every.append(f"file+bytes://{tmp_path}/caf%E9.wav")
    in_csv = [f"{folder}/ü.wav", f"{folder}/日本.wav"]
    assert json.loads(done.stdout) == [sorted(every), sorted(every), sorted(in_csv)]


def test_a_person_is_told_in_a_line() -> None:
    assert in_words({}) == "nothing"
    counts = dict.fromkeys(KINDS, 1200)
    assert in_words({"link": 2, "new": 1}) == "2 links, 1 new"
    assert in_words(counts).count("1,200 ") == len(KINDS)
