"""Canonical names, and what is refused in them."""

import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage.filesystems import filesystem
from pipelines.storage.uris import (
    SECRET_PATTERN,
    canonical,
    clip_id,
    local_path,
    local_uri,
    refuse_credentials,
    split_s3,
)
from tagger.errors import CommandError

SECRETS = [
    "s3://AKIA123:secret/with+slash@bucket/a.wav",
    "s3://key@bucket/a.wav",
    "s3a://AKIA123:secret@bucket",
    "https://user:pw@host/a.wav",
    "https://token@host/a.wav",
    "ftp://user:pw@host:21/a.wav",
    "https://b.s3.amazonaws.com/a.wav?X-Amz-Algorithm=x&X-Amz-Signature=abc",
    "https://account.blob.core.windows.net/c/a.wav?sv=2020&sig=abc",
    "https://storage.googleapis.com/b/a.wav?x-goog-credential=abc",
    "s3://bucket/p?access_key=abc&secret_key=def",
    "ftp://user:p/w@host/a.wav",
    "sftp://user:1p/w?2@host/a.wav",
    *(
        f"https://host/a.wav?n=1&{name}=abc"
        for name in (
            *("key", "api_key", "api-key", "apikey", "x-api-key", "AWSAccessKeyId", "key-id"),
            *("client_secret", "secret", "token", "access-token", "accessToken", "X-Auth-Token"),
            *("auth", "x-auth", "authorization", "jwt", "pass", "passwd", "user_password", "pwd"),
            *("sig", "Signature", "x-goog-signature", "X-Amz-Credential", "cred"),
        )
    ),
]
HARMLESS = [
    "s3://bucket/who? me.wav",
    "s3://bucket/a@b:c.wav",
    "https://host:8443/a.wav?track=3",
    "abfs://container@account.dfs.core.windows.net/a.wav",
    "gs://bucket/design=4/a.wav",
    "s3://bucket/who? my key=4.wav",
    "s3://bucket/AT&T-key=3.wav",
    "s3://bucket/a?design=4&author=bach&signal=2&passage=3&keys=88.wav",
    "s3://bucket/what?/token=3/a@b.wav",
    "https://host:8443/a@b.wav",
    "hdfs://host:8020/a:b@c.wav",
]


@given(st.binary(min_size=1).filter(lambda name: not {0, 47} & set(name) and name not in b".."))
def test_any_local_name_round_trips(name: bytes) -> None:
    path = os.fsdecode(b"/archive/" + name)
    uri = canonical(path)
    assert uri.encode().decode() == uri
    assert local_path(uri) == path
    assert canonical(uri) == uri == local_uri(path)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_s3_key_round_trips(key: str) -> None:
    assert split_s3(canonical(f"s3a://bucket/{key}")) == ("bucket", key)


def test_relative_paths_and_dots_are_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert canonical("a/../b#%.wav") == f"file://{tmp_path}/b#%.wav"
    assert canonical(f"LOCAL://{tmp_path}/b.wav") == f"file://{tmp_path}/b.wav"
    assert canonical("S3://bucket/a//../b") == "s3://bucket/a//../b"
    assert canonical("gs://bucket/a/../b") == "gs://bucket/a/../b"


def test_the_id_depends_on_name_and_version() -> None:
    assert clip_id("file:///a", "1-2") == clip_id("file:///a", "1-2")
    assert len({clip_id(uri, version) for uri in ("a", "b") for version in ("1", "")}) == 4
    assert re.fullmatch("[0-9a-f]{32}", clip_id("s3://b/ü", "x"))


@pytest.mark.parametrize("uri", SECRETS)
def test_credentials_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(CommandError, match="environment") as caught:
        refuse_credentials(uri, "INPUT")
    assert not re.search("secret/|AKIA|pw|abc|token@|key@", str(caught.value))


@pytest.mark.parametrize("uri", [*HARMLESS, "/data/a:b@c?token=x.wav", "file:///a:b@c.wav"])
def test_harmless_names_are_let_through(uri: str) -> None:
    refuse_credentials(uri, "INPUT")


def test_arrow_finds_the_same_secrets() -> None:
    found = pc.match_substring_regex(pa.array([*SECRETS, *HARMLESS]), SECRET_PATTERN)
    assert found.to_pylist() == [True] * len(SECRETS) + [False] * len(HARMLESS)


@pytest.mark.parametrize("scheme", ["nosuchscheme", "zip"])
def test_a_scheme_that_cannot_be_opened_is_a_command_error(scheme: str) -> None:
    with pytest.raises(CommandError, match=f"{scheme}://.*configured"):
        filesystem(f"{scheme}://a/b")
