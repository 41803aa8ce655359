"""What to do when an object store does not answer as hoped (design 4, "Failures").

A store that does not answer is no clip's failure: the call is repeated with growing, jittered
pauses for about two minutes, then the job ends with ``StoreUnavailable``. Refused credentials end
it at once with ``AccessDenied``. What concerns one object only (missing, changed, not permitted)
passes through untouched. The retries of s3fs and botocore themselves are switched off
(``pipelines.uris.filesystem``), so that every repetition is counted here.
"""

import errno
import http.client
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE_S: Final = 120.0
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0

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
_TRANSIENT_CODES: Final = frozenset(
    {"InternalError", "RequestTimeout", "ServiceUnavailable", "SlowDown", "Throttling", "429"}
    | {"500", "502", "503", "504"}
    | {"ConditionalRequestConflict", "OperationAborted"}  # two creations at the same moment
    | {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}  # cut or garbled on its way
)
HOW_TO_LOG_IN: Final = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class AccessDenied(OSError):  # noqa: N818
    """The store refuses these credentials, or this folder may not be written."""


class StoreUnavailable(OSError):  # noqa: N818
    """The store did not carry out an operation, after all retries."""


class _Tally:
    def __init__(self) -> None:
        self.total = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.total += 1


_repeated = _Tally()


def n_retries() -> int:
    """How many calls this process has repeated so far."""
    return _repeated.total


def with_retries(call: Callable[[], _T], what: str, patience_s: float = PATIENCE_S) -> _T:
    """The result of ``call()``, repeated while the store fails in ways that pass.

    Parameters
    ----------
    call : does one thing that may be done twice
    what : names it in messages, such as ``"reading s3://bucket/key"``
    patience_s : seconds of trying after which ``StoreUnavailable`` is raised

    Raises
    ------
    StoreUnavailable : still failing after ``patience_s``
    AccessDenied : no, expired or wrong credentials
    """
    deadline = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return call()
        except (AccessDenied, StoreUnavailable):
            raise
        except store_errors() as error:
            if refused_credentials(error):
                raise AccessDenied(f"{what}: {one_line(error)}; {HOW_TO_LOG_IN}") from error
            if not is_transient(error):
                raise
            if time.monotonic() + pause_s > deadline:
                raise StoreUnavailable(
                    f"{what}: no answer in {patience_s:.0f} s: {one_line(error)}"
                ) from error
            _log.info("%s: trying again after %s", what, one_line(error))
        _repeated.add()
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def store_errors() -> tuple[type[Exception], ...]:
    """Every exception type with which fsspec, s3fs, botocore and aiohttp tell of a failed call."""
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    of_boto = (boto.BotoCoreError, boto.ClientError, ResponseParserError)
    return OSError, http.client.HTTPException, aiohttp.ClientError, *of_boto


def error_code(error: BaseException) -> str:
    """The S3 error code behind an exception of s3fs or botocore, or ``""``."""
    for known in (error, error.__cause__):
        response = getattr(known, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


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
        return error.status == 429 or error.status >= 500
    code = error_code(error)
    if code:
        return code in _TRANSIENT_CODES
    # s3fs raises these two numbers only for codes it has mapped; another store's may be bare
    return isinstance(error, OSError) and error.errno in (errno.EREMOTEIO, errno.ENETUNREACH)


def one_line(error: BaseException) -> str:
    """What an exception says, for a message."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
