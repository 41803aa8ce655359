"""What stores answer when they fail, told apart: by real servers, and by what botocore defines."""

import errno
import pickle
import socket

import aiohttp
import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from pipelines.storage import filesystems
from pipelines.storage.errors import (
    AccessDenied,
    StoreUnavailable,
    error_code,
    is_transient,
    one_line,
    refused_credentials,
    store_errors,
)
from pipelines.storage.filesystems import filesystem, read_whole
from tests.support.s3_proxy import Fault

PASSES, CREDENTIALS, OBJECT = "it may pass", "who we are", "this object alone"


def kind_of(error):
    """Which of the three kinds; an error that two apply to, or that is no store's, fails."""
    assert isinstance(error, store_errors()), repr(error)
    if refused_credentials(error):
        assert not is_transient(error)
        return CREDENTIALS
    return PASSES if is_transient(error) else OBJECT


def raised_by(call):
    with pytest.raises(Exception) as raised:
        call()
    return raised.value


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture
def an_object(s3):
    url = f"{s3.new_prefix()}/object"
    filesystem(url).pipe_file(url, b"x" * 1000)
    return url


@pytest.mark.s3
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("503 SlowDown", PASSES),
        ("503 ReduceYourRate", PASSES),
        ("502 BadGateway", PASSES),
        ("500 InternalError", PASSES),
        ("429 TooManyRequests", PASSES),
        ("400 RequestTimeout", PASSES),
        ("reset", PASSES),
        ("cut", PASSES),
        ("409 OperationAborted", PASSES),
        ("403 SignatureDoesNotMatch", CREDENTIALS),
        ("400 ExpiredToken", CREDENTIALS),
        ("403 RequestTimeTooSkewed", CREDENTIALS),
        ("403 AccessDenied", OBJECT),
        ("404 NoSuchKey", OBJECT),
        ("404 NoSuchBucket", OBJECT),
        ("501 NotImplemented", OBJECT),
        ("412 PreconditionFailed", OBJECT),
        ("416 InvalidRange", OBJECT),
    ],
)
def test_answers_of_s3(fault, kind, an_object, proxy):
    proxy.faults = [Fault(fault)]
    assert kind_of(raised_by(lambda: read_whole(an_object))) == kind


@pytest.mark.s3
def test_a_server_that_says_nothing(an_object, proxy, monkeypatch):
    monkeypatch.setattr(filesystems, "ANSWER_S", 0.2)
    proxy.faults = [Fault("silent")]
    assert kind_of(raised_by(lambda: read_whole(an_object))) == PASSES


@pytest.mark.s3
def test_a_server_that_is_away(an_object, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    assert kind_of(raised_by(lambda: read_whole(an_object))) == PASSES


@pytest.mark.s3
@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, CREDENTIALS),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, CREDENTIALS),
        ({"AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "/dev/null"}, CREDENTIALS),
    ],
    ids=["secret", "key", "profile"],
)
def test_what_s3_says_to_strangers(environment, kind, an_object, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert kind_of(raised_by(lambda: read_whole(an_object))) == kind


@pytest.mark.s3
def test_no_credentials_at_all(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url = f"{s3.new_prefix()}/object"
    assert kind_of(raised_by(lambda: filesystem(url).pipe_file(url, b"x"))) == CREDENTIALS


@pytest.mark.s3
def test_codes_of_s3_are_found_behind_what_s3fs_raises(an_object):
    assert error_code(raised_by(lambda: read_whole(f"{an_object}.no"))) == "NoSuchKey"
    assert error_code(ValueError("nothing to do with it")) == ""
    again = raised_by(lambda: filesystem(an_object).pipe_file(an_object, b"", mode="create"))
    assert error_code(again) in ("PreconditionFailed", "412")
    assert kind_of(again) == OBJECT


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        (["503"], PASSES),
        (["429"], PASSES),
        (["cut:3"], PASSES),
        (["404"], OBJECT),
        (["403"], OBJECT),
    ],
    ids=str,
)
def test_answers_of_http(faults, kind, file_server):
    file_server.files["/x"] = b"content"
    file_server.faults["/x"] = faults
    url = f"{file_server.url}/x"
    assert kind_of(raised_by(lambda: read_whole(url))) == kind


def test_an_http_server_that_is_away():
    url = f"http://127.0.0.1:{unused_port()}/x"
    assert kind_of(raised_by(lambda: read_whole(url))) == PASSES
    assert kind_of(raised_by(lambda: filesystem(url).info(url))) == PASSES


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.NoCredentialsError(), CREDENTIALS),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET"), CREDENTIALS),
        (boto.CredentialRetrievalError(provider="sso", error_msg="expired"), CREDENTIALS),
        (boto.TokenRetrievalError(provider="sso", error_msg="expired"), CREDENTIALS),
        (boto.NoAuthTokenError(), CREDENTIALS),
        (boto.EndpointConnectionError(endpoint_url="http://x"), PASSES),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), PASSES),
        (boto.ReadTimeoutError(endpoint_url="http://x"), PASSES),
        (boto.ConnectionClosedError(endpoint_url="http://x"), PASSES),
        (boto.ResponseStreamingError(error="cut"), PASSES),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), PASSES),
        (boto.SSLError(endpoint_url="https://x", error="reset"), PASSES),
        (ResponseParserError("half an XML document"), PASSES),
        (boto.ParamValidationError(report="bucket name"), OBJECT),
        (aiohttp.ServerDisconnectedError(), PASSES),
        (aiohttp.ClientPayloadError("cut"), PASSES),
        (aiohttp.InvalidURL("x"), OBJECT),
        (TimeoutError(), PASSES),
        (ConnectionResetError(), PASSES),
        (OSError(errno.EREMOTEIO, "unmapped code"), PASSES),
        (OSError(errno.ENETUNREACH, "no network"), PASSES),
        (OSError(errno.ENOSPC, "disk full"), OBJECT),
        (IsADirectoryError(), OBJECT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
def test_what_libraries_raise(error, kind):
    assert kind_of(error) == kind


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("x"), TypeError("x")])
def test_defects_are_no_answers_of_a_store(error):
    assert not isinstance(error, store_errors())


@pytest.mark.parametrize("kind", [AccessDenied, StoreUnavailable])
def test_errors_come_whole_from_other_processes(kind):
    again = pickle.loads(pickle.dumps(kind("s3://b: no answer in 3 s")))
    assert type(again) is kind
    assert str(again) == "s3://b: no answer in 3 s"


def test_a_message_is_one_line():
    assert one_line(OSError("two\n  lines")) == "two lines"
    assert one_line(TimeoutError()) == "TimeoutError"
