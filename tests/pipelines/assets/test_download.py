"""Downloads from a real server that breaks off, lies, redirects or is not there."""

import hashlib
import re
import socket

import pytest

from pipelines.assets.download import check_url, download, read_small
from pipelines.storage.checksums import Checksum
from pipelines.storage.errors import AccessDenied, StoreUnavailable
from tagger.errors import CommandError

DATA = bytes(range(256)) * 4000
SHA256 = Checksum("sha256", hashlib.sha256(DATA).hexdigest())
MOST = 10_000_000


@pytest.fixture
def url(file_server):
    file_server.files["/weights.pth"] = DATA
    return f"{file_server.url}/weights.pth"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "weights.pth"


def is_there_alone(target):
    return target.read_bytes() == DATA and [p.name for p in target.parent.iterdir()] == [
        target.name
    ]


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_file_arrives_whole(url, target, checksum):
    download(url, target, checksum, MOST)
    assert is_there_alone(target)


def test_what_is_there_and_right_is_not_fetched_again(url, target, file_server):
    download(url, target, SHA256, MOST)
    download(url, target, SHA256, MOST)
    assert len(file_server.requests) == 1


def test_a_server_that_breaks_off_again_and_again_is_asked_for_the_rest(url, target, file_server):
    file_server.faults["/weights.pth"] = ["cut:1000", "cut:500", "cut:1"]
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)
    ranges = [asked for _, asked in file_server.requests]
    assert ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=1501-"]


def test_without_a_checksum_it_begins_anew(url, target, file_server):
    file_server.faults["/weights.pth"] = ["cut:1000", "503"]
    download(url, target, None, MOST)
    assert is_there_alone(target)
    assert [asked for _, asked in file_server.requests] == [None, None, None]


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_a_server_that_always_breaks_off_is_given_up(url, target, file_server, checksum):
    file_server.faults["/weights.pth"] = ["cut:1000", "*cut:0"]
    with pytest.raises(StoreUnavailable, match="broke off after"):
        download(url, target, checksum, MOST, patience_s=0.5)
    assert not target.exists()


def test_a_later_run_takes_up_what_a_killed_one_left(url, target, file_server):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(DATA[:700])
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)
    assert file_server.requests == [("/weights.pth", "bytes=700-")]


def test_a_run_killed_before_the_renaming_asks_no_server(url, target, file_server):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(DATA)
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)
    assert not file_server.requests


@pytest.mark.parametrize("left", [b"of another file", DATA + b"and more"])
def test_a_part_of_another_file_is_thrown_away(url, target, left):
    target.parent.mkdir()
    target.with_name("weights.pth.part").write_bytes(left)
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)


def test_a_server_without_ranges_sends_it_all_again(url, target, file_server):
    file_server.faults["/weights.pth"] = ["cut:1000", "whole"]
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)


def test_a_server_that_is_overloaded_is_asked_again(url, target, file_server):
    file_server.faults["/weights.pth"] = ["503", "429", "500"]
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)


@pytest.mark.parametrize("status", ["403", "404"])
def test_a_refusal_is_final(url, target, file_server, status):
    file_server.faults["/weights.pth"] = [status]
    with pytest.raises(CommandError, match=f"answered {status} .*local file"):
        download(url, target, SHA256, MOST)
    assert len(file_server.requests) == 1


def test_another_file_than_expected(url, target):
    with pytest.raises(CommandError, match=r"its md5 is [0-9a-f]{32}, not 0{32}: it is another"):
        download(url, target, Checksum("md5", "0" * 32), MOST)
    assert not list(target.parent.iterdir())


def test_a_truncated_file_at_the_server(url, target, file_server):
    file_server.files["/weights.pth"] = DATA[:-1]
    with pytest.raises(CommandError, match="another file"):
        download(url, target, SHA256, MOST)


@pytest.mark.parametrize("fault", ["", "silent-length"])
def test_a_file_that_is_too_large(url, target, file_server, fault):
    file_server.faults["/weights.pth"] = [fault]
    with pytest.raises(CommandError, match="is larger than 1 MB"):
        download(url, target, SHA256, 1_000_000)
    assert not list(target.parent.iterdir())


def test_redirections_are_followed(url, target, file_server):
    file_server.files["/old"] = b""
    file_server.faults["/old"] = [f"to:{url}"]
    download(f"{file_server.url}/old", target, SHA256, MOST)
    assert is_there_alone(target)


@pytest.mark.parametrize("elsewhere", ["http://example.org/x", "ftp://example.org/x"])
def test_redirections_to_places_that_are_not_safe(url, target, file_server, elsewhere):
    file_server.faults["/weights.pth"] = [f"to:{elsewhere}"]
    with pytest.raises(CommandError, match="refused"):
        download(url, target, SHA256, MOST)


def test_nobody_listens(target):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # not listening
        url = f"http://127.0.0.1:{held.getsockname()[1]}/x"
        with pytest.raises(StoreUnavailable, match="refused"):
            download(url, target, SHA256, MOST, patience_s=0.3)


def test_no_such_host(target):
    with pytest.raises(StoreUnavailable, match="no such host, or no way to it"):
        download("https://no-such-host.invalid/x", target, SHA256, MOST)


def test_a_folder_that_may_not_be_written(url, tmp_path, drop_root):
    tmp_path.chmod(0o500)
    drop_root()
    with pytest.raises(AccessDenied):
        download(url, tmp_path / "new" / "file", SHA256, MOST)


def test_a_folder_that_is_a_file(url, tmp_path):
    (tmp_path / "new").write_text("")
    with pytest.raises(StoreUnavailable, match="new"):
        download(url, tmp_path / "new" / "file", SHA256, MOST)


@pytest.mark.parametrize(
    "url",
    ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "https://", "https://[x"],
)
def test_urls_that_are_not_taken(url):
    with pytest.raises(CommandError, match="url"):
        check_url(url, "url")


def test_credentials_in_a_url_are_refused_and_not_repeated():
    with pytest.raises(CommandError, match="holds credentials") as caught:
        check_url("https://me:secret@example.org/x", "url")
    assert "secret" not in str(caught.value)


def test_a_short_answer(file_server):
    file_server.files["/record"] = b"{}"
    file_server.faults["/record"] = ["503", "cut:1"]
    assert read_small(f"{file_server.url}/record", 2) == b"{}"
    with pytest.raises(CommandError, match="more than 1 bytes"):
        read_small(f"{file_server.url}/record", 1)


def test_how_far_it_is_is_told_in_bytes(url, target, file_server, monkeypatch, capsys):
    """A server that keeps the connection and says no more: the lines go on coming."""
    monkeypatch.setattr("pipelines.runtime.progress.IN_LOG_S", 0.01)
    monkeypatch.setattr("pipelines.assets.download.ANSWER_S", 1.0)
    file_server.faults["/weights.pth"] = ["hold:512000"]
    download(url, target, SHA256, MOST)
    assert is_there_alone(target)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 2
    assert all(re.match(r"weights\.pth:( +\d+%)? ", line) for line in lines)
    assert any("50% 512k/1.02M [" in line for line in lines)


def test_checksums():
    assert Checksum.parse(str(SHA256)) == SHA256
    assert Checksum.parse("d1c7011e6366aa34176bb05c705e31a8").algorithm == "md5"
    assert Checksum.parse("10086976") == Checksum("sha256", "10086976")
    for text in ("", "sha1:10086976", "md5:10086976", "not hexadecimal", "1008697", "f" * 65):
        with pytest.raises(CommandError, match="is no checksum"):
            Checksum.parse(text)
