"""Archives that are not to be trusted."""

import shutil
import stat
import zipfile
from pathlib import Path

import pytest

from pipelines.assets.unpacking import Bounds, unpack
from tagger.errors import CommandError


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.fixture
def target(tmp_path):
    return tmp_path / "into" / "here"


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_files_folders_and_sizes(tmp_path, target):
    archive = zipped(tmp_path / "a.zip", ("d/", b""), ("d/e/ü 1.wav", b"abc"), ("x.csv", b""))
    assert unpack(archive, target) == {"d/e/ü 1.wav": 3, "x.csv": 0}
    assert everything(target) == ["d/e/ü 1.wav", "x.csv"]
    assert (target / "d/e/ü 1.wav").read_bytes() == b"abc"


def test_over_what_is_there(tmp_path, target):
    for data in (b"old one", b"new"):
        unpack(zipped(tmp_path / "a.zip", ("x", data)), target)
    assert (target / "x").read_bytes() == b"new"
    assert everything(target) == ["x"]


def test_a_place_by_the_names(tmp_path, target):
    archive = zipped(tmp_path / "a.zip", ("x.wav", b"1"))
    assert unpack(archive, target, lambda names: "-".join(names)) == {"x.wav/x.wav": 1}
    assert everything(target) == ["x.wav/x.wav"]


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        ("../outside", "no path inside a folder"),
        ("a/../../outside", "no path inside a folder"),
        ("/etc/outside", "no path inside a folder"),
        ("a\\..\\outside", "no path inside a folder"),
        ("C:outside", "no path inside a folder"),
        (".", "no path inside a folder"),
        (link("outside"), "is a link or a device"),
    ],
    ids=str,
)
def test_nothing_of_a_hostile_archive_is_unpacked(tmp_path, target, member, fault):
    archive = zipped(tmp_path / "a.zip", ("good", b"good"), (member, b"/etc/passwd"))
    with pytest.raises(CommandError, match=fault) as caught:
        unpack(archive, target)
    assert "\n" not in str(caught.value)
    assert everything(tmp_path) == ["a.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(tmp_path, target):
    with pytest.raises(CommandError, match="twice"):
        unpack(zipped(tmp_path / "a.zip", ("x", b"1"), ("x", b"2")), target)


@pytest.mark.parametrize("bounds", [Bounds(n_files=1), Bounds(n_bytes=99)])
def test_too_many_and_too_large(tmp_path, target, bounds):
    archive = zipped(tmp_path / "a.zip", ("x", b"1" * 99), ("y", b"2"))
    with pytest.raises(CommandError, match="holds 2 files"):
        unpack(archive, target, bounds=bounds)
    assert not target.exists()


def test_a_bomb_is_not_lit(tmp_path, target):
    archive = zipped(tmp_path / "a.zip", *((f"{i}", bytes(40_000_000)) for i in range(3)))
    assert archive.stat().st_size < 150_000
    with pytest.raises(CommandError, match=r"0\.1 GB, more than 100 times its size"):
        unpack(archive, target)
    assert not everything(target)
    unpack(archive, target, bounds=Bounds(ratio=1000))
    assert len(everything(target)) == 3


def test_files_that_share_their_bytes_count_each(tmp_path, target):
    """As in the bombs whose directory names the same bytes again and again."""
    path = zipped(tmp_path / "a.zip", ("0", bytes(40_000_000)))
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = archive.infolist()
        for i in range(1, 50):
            again = zipfile.ZipInfo(f"{i}")
            for name in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(again, name, getattr(first, name))
            archive.filelist.append(again)
        archive._didModify = True
    with pytest.raises(CommandError, match=r"2.0 GB, more than 100 times"):
        unpack(path, target)
    assert not everything(target)


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("x" * 300,), ("d/" * 3000 + "x",)])
def test_names_that_no_disk_takes(tmp_path, target, names):
    archive = zipped(tmp_path / "a.zip", *((name, b"1") for name in names))
    with pytest.raises(CommandError, match=r"too long a name|a file and a folder") as caught:
        unpack(archive, target)
    assert len(str(caught.value)) < 400
    assert not target.exists()


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_and_pipes(tmp_path, target, kind):
    info = zipfile.ZipInfo("device")
    info.external_attr = (kind | 0o666) << 16
    with pytest.raises(CommandError, match="is a link or a device"):
        unpack(zipped(tmp_path / "a.zip", (info, b"1")), target)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o777])
def test_no_rights_are_taken_over(tmp_path, target, mode):
    info = zipfile.ZipInfo("x")
    info.external_attr = (stat.S_IFREG | mode) << 16
    unpack(zipped(tmp_path / "a.zip", (info, b"1")), target)
    assert not (target / "x").stat().st_mode & 0o7111


def lying(path: Path, n_files: int) -> Path:
    """An archive whose directory claims 4 GB for each of its files of one byte."""
    zipped(path, *((f"{i}", b"1") for i in range(n_files)))
    data = bytearray(path.read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at) + 1) > 0:
        data[at + 23 : at + 27] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(data)
    return path


def test_more_than_the_disk_holds(tmp_path, target):
    n_files = shutil.disk_usage(tmp_path).free // 2**32 + 10
    with pytest.raises(CommandError, match=r"a.zip needs [\d.]+ GB; .* has"):
        unpack(lying(tmp_path / "a.zip", n_files), target, bounds=Bounds(n_bytes=2**60))
    assert not everything(target)


def test_a_size_that_is_not_the_true_one(tmp_path, target):
    with pytest.raises(CommandError, match="has not the size it claims"):
        unpack(lying(tmp_path / "a.zip", 1), target, bounds=Bounds(ratio=10**9))
    assert not everything(target)


@pytest.mark.parametrize("data", ["cut off", b"no zip", b""])
def test_a_broken_archive(tmp_path, target, data):
    archive = zipped(tmp_path / "a.zip", ("x", b"abc" * 100))
    archive.write_bytes(archive.read_bytes()[:-30] if data == "cut off" else data)
    with pytest.raises(CommandError, match=r"cannot be unpacked: .*fetch it again"):
        unpack(archive, target)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_garbled_content_leaves_no_file(tmp_path, target, compression):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", compression) as archive:
        archive.writestr("x", bytes(range(256)) * 10)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(CommandError, match="fetch it again"):
        unpack(tmp_path / "a.zip", target)
    assert not everything(target)


def test_an_unusual_compression(tmp_path, target):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"1")
    with pytest.raises(CommandError, match="unusual"):
        unpack(tmp_path / "a.zip", target)


def test_a_link_in_the_target_is_not_followed(tmp_path, target):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target.mkdir(parents=True)
    (target / "d").symlink_to(elsewhere)
    with pytest.raises(CommandError, match="is a link that leads out"):
        unpack(zipped(tmp_path / "a.zip", ("d/x", b"1")), target)
    assert not everything(elsewhere)


def test_an_archive_that_is_not_there(tmp_path, target):
    with pytest.raises(CommandError, match="cannot be read"):
        unpack(tmp_path / "a.zip", target)
