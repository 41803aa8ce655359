"""What is used of fsspec and s3fs beyond what they promise; their next major release may break it.

``pyproject.toml`` bounds both by the year in which they are released. To raise the bound, run this
module with the new versions: each test names what depends on the behaviour that it holds.
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage.filesystems import filesystem, name_on
from tagger.errors import CommandError
from tests.support.s3_proxy import Fault

ROOT = Path(__file__).parents[3]


def test_the_versions_are_bounded():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = dict(
        re.fullmatch(r"([a-z0-9]+)(.*)", text).groups()
        for text in (
            text for text in project["dependencies"] if text.startswith(("fsspec", "s3fs"))
        )
    )
    assert set(wanted) == {"fsspec", "s3fs"}
    assert all(re.fullmatch(r">=\d{4}\.\d+,<\d{4}", bounds) for bounds in wanted.values()), wanted


@pytest.mark.s3
@pytest.mark.parametrize("fault", ["503 SlowDown", "500 InternalError", "404 NoSuchKey"])
def test_s3fs_and_botocore_repeat_nothing(fault, s3, proxy):
    """``fs.retries`` and ``total_max_attempts``: else retries are uncounted, and 25 for each."""
    url = f"{s3.new_prefix()}/x"
    proxy.faults = [Fault(fault)]
    with pytest.raises(OSError):
        filesystem(url).call_s3("get_object", Bucket=s3.bucket, Key="x")
    assert sum(proxy.spoilt.values()) == 1


@pytest.mark.s3
def test_s3fs_passes_a_request_on_as_it_is(s3):
    """``call_s3`` with ``IfMatch``, and the body that it gives: ``inputs.reading`` rests on it."""
    from fsspec.asyn import sync

    fs = filesystem("s3://")
    key = f"{s3.new_prefix()}/a?b#c%20".removeprefix(f"s3://{s3.bucket}/")
    fs.call_s3("put_object", Bucket=s3.bucket, Key=key, Body=b"content")
    answer = fs.call_s3("get_object", Bucket=s3.bucket, Key=key, Range="bytes=3-5")
    assert sync(fs.loop, answer["Body"].read) == b"ten"
    with pytest.raises(OSError, match=r"pre-?condition"):
        fs.call_s3("get_object", Bucket=s3.bucket, Key=key, IfMatch='"another"')


def test_where_a_server_is_comes_from_its_uri():
    """``_get_kwargs_from_urls``: ftp, sftp and hdfs need the host before the connection."""
    from fsspec.implementations.ftp import FTPFileSystem

    options = FTPFileSystem._get_kwargs_from_urls("ftp://example.org:2121/a/b.wav")
    assert {name: options[name] for name in ("host", "port")} == {
        "host": "example.org",
        "port": 2121,
    }


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("memory://archive/a b.wav", "/archive/a b.wav"),
        ("http://127.0.0.1:1/archive/a::b.wav", "http://127.0.0.1:1/archive/a::b.wav"),
    ],
)
def test_names_on_a_filesystem(uri, name):
    """``_strip_protocol``: how listings of other stores are turned into URIs again."""
    assert name_on(filesystem(uri), uri) == name


def test_a_chain_of_file_systems_is_no_uri(tmp_path):
    """As ``fsspec.core.url_to_fs`` would take it for: a manifest could name anything by it."""
    (tmp_path / "secret").write_text("secret")
    fs: Any = filesystem(f"http://127.0.0.1:1/x::file://{tmp_path}/secret")
    assert "http" in fs.protocol


def test_another_scheme_without_its_package():
    with pytest.raises(CommandError, match="nonsense://"):
        filesystem("nonsense://x/y")
