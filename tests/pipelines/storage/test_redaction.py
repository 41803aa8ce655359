"""Secrets planted in what stores, servers and libraries may say."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.storage.redaction import redacted

SECRET = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", min_size=16, max_size=64
)
PLACES = [
    "403, message='Forbidden', url='https://bucket.s3.example.com/a.wav?X-Amz-Signature={}&x=1'",
    "Cannot connect to host: https://store.blob.example.net/c/a.wav?sv=2024&sig={}",
    "https://host/path#access_token={}",
    "HTTPS://HOST/?{}",
    'Could not connect to the endpoint URL: "http://me:{}@127.0.0.1:9000/bucket"',
    "http://{}@127.0.0.1/",  # a slash would end the name of the host
    "smb://user:{}@host/share",
    "Authorization: Bearer {}",
    "authorization='Basic {}'",
    "AWS4-HMAC-SHA256 Credential={}/20261126/x/s3/aws4_request, SignedHeaders=host",
    "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host;x-amz-date, Signature={}",
    "SharedKey account:{}",
    "AccountKey={};EndpointSuffix=core.windows.net",
    "aws_secret_access_key='{}'",
    "{{'X-Amz-Security-Token': 1}}, x-amz-security-token={}",
    "password = {}",
    "client_secret={}&grant_type=x",
    "api_key={}",
]


@given(SECRET, st.sampled_from(PLACES))
def test_no_secret_is_left(secret: str, place: str) -> None:
    as_it_is = secret.replace("/", "") if place.startswith("http://{}") else secret
    for written in (as_it_is, quote(secret, safe="")):
        said = redacted(f"reading it: {place.format(written)} and so on")
        assert written not in said
        assert said.startswith("reading it: ")
        assert redacted(said) == said


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SESSION_TOKEN",
        "RAY_AUTH_TOKEN",
        "DB_PASSWORD",
    ],
)
def test_secrets_of_the_environment_are_left_out_wherever_they_are(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "planted/secret+1")
    assert redacted("The key you gave, planted/secret+1, is not valid") == (
        "The key you gave, …, is not valid"
    )


@pytest.mark.parametrize(
    "text",
    [
        "no such object",
        "s3://bucket/what?key=a note: and more.wav is not there",
        "set RAY_AUTH_MODE=disabled, or AWS_PROFILE and AWS_REGION=eu-north-1",
        "An error occurred (NoSuchKey) when calling the GetObject operation: no such key: a/b.wav",
        "https://host:8080/a/b.wav: answered 403",
        "the header promises 3.5 s; basic block",
        "token of the cluster, key: none",
    ],
)
def test_all_else_is_kept(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/me/key.json")
    assert redacted(text) == text
