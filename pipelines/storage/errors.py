"""What object stores answer when they fail, and what it means.

Each failure is one of three kinds. It may pass, as a 503 or a lost connection does
(``is_transient``); it rejects who we are (``refused_credentials``); or it concerns one object only:
missing, changed, not permitted.
"""

import errno
import http.client
from typing import Any, Final

from pipelines.storage.redaction import redacted

_CREDENTIAL_CODES: Final = frozenset(
    {
        "AccountProblem",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_TRANSIENT_CODES: Final = frozenset(  # beside every answer with a status of _BUSY
    {"RequestTimeout", "Throttling"}
    | {"ConditionalRequestConflict", "OperationAborted"}  # two creations at the same moment
    | {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}  # cut or garbled on its way
)
_BUSY: Final = (429, 500, *range(502, 600))  # 501 is what the store does not know at all
MACHINE_TROUBLE: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN}
)
"""Numbers of errors of the machine or its mounts, which no file is to blame for."""

HOW_TO_LOG_IN: Final = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"


class AccessDenied(OSError):  # noqa: N818
    """The store refuses these credentials, or this folder may not be written."""


class StoreUnavailable(OSError):  # noqa: N818
    """The store did not carry out an operation, after all retries."""


class TooMuch(OSError):  # noqa: N818
    """There is more than may be taken."""


class NotAsAsked(OSError):  # noqa: N818
    """The server answers, but not with what it was asked for; the same request will not help."""


class BrokeOff(ConnectionError):  # noqa: N818
    """The server answers, but its answer ends too early or comes too slowly."""


class PrivateHost(Exception):  # noqa: N818
    """A name that may lead to public hosts only leads to an address that is none.

    No ``OSError``, since it is no failure of the network.
    """


def store_errors() -> tuple[type[Exception], ...]:
    """Every exception type with which fsspec, s3fs, botocore and aiohttp tell of a failed call."""
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    of_boto = (boto.BotoCoreError, boto.ClientError, ResponseParserError)
    return OSError, http.client.HTTPException, aiohttp.ClientError, *of_boto


def error_code(error: BaseException) -> str:
    """The S3 error code behind an exception of s3fs or botocore, or ``""``."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _answer(error: BaseException) -> dict[str, Any]:
    """What botocore understood of the store's answer; empty where there was none."""
    for known in (error, error.__cause__):
        response = getattr(known, "response", None)
        if isinstance(response, dict):
            return response
    return {}


def refused_credentials(error: BaseException) -> bool:
    """Whether the store rejects who we are, rather than this one object."""
    from botocore import exceptions as boto

    missing = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.TokenRetrievalError,
        boto.NoAuthTokenError,
        boto.ProfileNotFound,
    )
    return isinstance(error, missing) or error_code(error) in _CREDENTIAL_CODES


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed in a moment."""
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    passing = (
        TimeoutError,
        ConnectionError,
        http.client.IncompleteRead,
        boto.HTTPClientError,
        boto.ConnectionError,
        boto.IncompleteReadError,
        ResponseParserError,
        aiohttp.ClientConnectionError,
        aiohttp.ClientPayloadError,
    )
    if isinstance(error, passing):
        return True
    if isinstance(error, FileNotFoundError) and error.__cause__:  # fsspec's http says nothing else
        return is_transient(error.__cause__)
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in _BUSY
    if answer := _answer(error):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _BUSY or error_code(error) in _TRANSIENT_CODES
    # s3fs raises these two numbers only for codes it has mapped; another store's may be bare
    return isinstance(error, OSError) and error.errno in (errno.EREMOTEIO, errno.ENETUNREACH)


def one_line(error: BaseException) -> str:
    """What an exception says, for a message; without secrets that it may repeat."""
    text = " ".join(redacted(str(error)).split())
    return text or type(error).__name__
